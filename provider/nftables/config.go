package nftables

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/ajar-access/ajar"
)

// Config says how this host's firewall is driven. The zero Config with a Clock works.
type Config struct {
	// OwnTable is auto or off. Auto owns the table where the kernel can keep an owned table alive after its owner's
	// death (6.9 and later): nobody else can change or flush it. Off, and older kernels: the table is watched and repaired.
	OwnTable string `yaml:"ownTable"`
	// Table is the table's name; "" is ajar.
	Table string `yaml:"table"`
	// NetNS is the path of a network namespace to work in; "" is the process's own.
	NetNS string `yaml:"netns"`
	// Clock tells the time; it must be set.
	Clock ajar.Clock `yaml:"-"`
}

var tableName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,30}$`)

// Validate lists every fault.
func (c Config) Validate() error {
	var faults []error
	switch c.OwnTable {
	case "", "auto", "off":
	default:
		faults = append(faults, fmt.Errorf("ownTable is auto or off, not %q", c.OwnTable))
	}
	if c.Table != "" && !tableName.MatchString(c.Table) {
		faults = append(faults, fmt.Errorf("table %q is no name for a table: a letter, then up to 30 letters, digits and _", c.Table))
	}
	if c.Clock == nil {
		faults = append(faults, errors.New("no clock"))
	}
	return errors.Join(faults...)
}
