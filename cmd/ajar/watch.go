package main

import (
	"bytes"
	"context"
	"time"

	"github.com/ajar-access/ajar"
)

// watchEvery is how often what somebody watches is drawn anew: its times move even when nothing else does.
const watchEvery = 2 * time.Second

// watching shows something once, or again and again on a terminal until ctx ends.
func (a *app) watching(ctx context.Context, watch bool, show func(context.Context) error) error {
	if !watch {
		return show(ctx)
	}
	if !terminal(a.out) || a.output != "table" {
		return hint(usage("--watch is for people at terminals"), "ajar log --follow -o json tells programs what happens, as it happens")
	}
	return a.redraw(ctx, watchEvery, show)
}

// redraw shows it in place of what it showed before. A plane that is away for a while is asked again.
func (a *app) redraw(ctx context.Context, every time.Duration, show func(context.Context) error) error {
	out, errs := a.out, a.err
	defer func() { a.out, a.err = out, errs }()
	var last []byte
	for {
		var b bytes.Buffer
		a.out, a.err, a.columns = &b, &b, a.lineOf(out)
		err := show(ctx)
		a.out, a.err = out, errs
		switch {
		case ctx.Err() != nil:
			return nil // it is how one ends it
		case ajar.KindOf(err) == ajar.Unavailable || ajar.KindOf(err) == ajar.TooMany:
			b.Reset()
			b.Write(last)
			b.WriteString("\najar: " + lowerFirst(err.Error()) + "; trying on\n")
		case err != nil:
			return err
		default:
			last = bytes.Clone(b.Bytes())
		}
		head := a.clock(a.now()) + ", every " + short(every) + "; Ctrl-C ends it\n\n"
		if _, err := out.Write(append([]byte("\x1b[H\x1b[2J"+head), b.Bytes()...)); err != nil {
			return err
		}
		if wait(ctx, every) != nil {
			return nil
		}
	}
}
