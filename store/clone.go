package store

import (
	"net/netip"
	"reflect"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// copies are what a body says, decoded, by the type it was decoded into: a document that is read again and again, by
// every request the same policy and machine, is copied instead. Nobody but the writer uses them.
type copies struct {
	reads int
	docs  []ajar.Doc
}

// The most types that one document is kept decoded as. What is read but once is not.
const copiesMost = 2

// into fills d as decoding would, or reports that it cannot.
func (c *copies) into(d ajar.Doc) bool {
	to := reflect.ValueOf(d).Elem()
	for _, have := range c.docs {
		if from := reflect.ValueOf(have).Elem(); from.Type() == to.Type() {
			clonerOf(to.Type()).copy(to, from)
			return true
		}
	}
	return false
}

// keep keeps a copy of d, which was decoded from the body into a new value, for the next.
func (c *copies) keep(d ajar.Doc) {
	c.reads++
	t := reflect.TypeOf(d).Elem()
	if c.reads < 2 || len(c.docs) >= copiesMost || clonerOf(t) == nil {
		return
	}
	fresh := reflect.New(t)
	clonerOf(t).copy(fresh.Elem(), reflect.ValueOf(d).Elem())
	if kept, ok := fresh.Interface().(ajar.Doc); ok {
		c.docs = append(c.docs, kept)
	}
}

// blank reports whether d is as new; decoding into anything else would mix the two.
func blank(d ajar.Doc) bool {
	v := reflect.ValueOf(d)
	return v.Kind() == reflect.Pointer && !v.IsNil() && v.Elem().IsZero()
}

// cloner copies values of one type so that a change of one does not show in the other.
type cloner struct {
	flat bool                         // assigning is copying
	deep func(to, from reflect.Value) // of what assigning leaves shared
}

func (c *cloner) copy(to, from reflect.Value) {
	to.Set(from)
	if !c.flat {
		c.deep(to, from)
	}
}

var cloners sync.Map // of reflect.Type to *cloner

// clonerOf gives the cloner of a type; nil if its values cannot be copied.
func clonerOf(t reflect.Type) *cloner {
	if c, ok := cloners.Load(t); ok {
		return c.(*cloner) //nolint:errcheck // nothing else is stored
	}
	c := newCloner(t)
	cloners.Store(t, c)
	return c
}

// Values of these types never change.
var immutable = map[reflect.Type]bool{
	reflect.TypeFor[time.Time](): true, reflect.TypeFor[netip.Addr](): true, reflect.TypeFor[netip.Prefix](): true, reflect.TypeFor[netip.AddrPort](): true,
}

func newCloner(t reflect.Type) *cloner {
	if immutable[t] {
		return &cloner{flat: true}
	}
	switch t.Kind() {
	case reflect.Struct:
		return structCloner(t)
	case reflect.Slice:
		return sliceCloner(t)
	case reflect.Map:
		return mapCloner(t)
	case reflect.Pointer:
		return pointerCloner(t)
	case reflect.Interface, reflect.Func, reflect.Chan, reflect.UnsafePointer, reflect.Uintptr, reflect.Array:
		return nil
	}
	return &cloner{flat: true}
}

func structCloner(t reflect.Type) *cloner {
	type field struct {
		i int
		c *cloner
	}
	var fields []field
	for i := range t.NumField() {
		c := newCloner(t.Field(i).Type)
		switch {
		case c == nil, !c.flat && !t.Field(i).IsExported():
			return nil
		case !c.flat:
			fields = append(fields, field{i, c})
		}
	}
	if fields == nil {
		return &cloner{flat: true}
	}
	return &cloner{deep: func(to, from reflect.Value) {
		for _, f := range fields {
			f.c.deep(to.Field(f.i), from.Field(f.i))
		}
	}}
}

func sliceCloner(t reflect.Type) *cloner {
	elem := newCloner(t.Elem())
	if elem == nil {
		return nil
	}
	return &cloner{deep: func(to, from reflect.Value) {
		if from.IsNil() {
			return
		}
		n := from.Len()
		to.Set(reflect.MakeSlice(t, n, n))
		reflect.Copy(to, from)
		for i := 0; i < n && !elem.flat; i++ {
			elem.deep(to.Index(i), from.Index(i))
		}
	}}
}

func mapCloner(t reflect.Type) *cloner {
	elem := newCloner(t.Elem())
	if elem == nil {
		return nil
	}
	return &cloner{deep: func(to, from reflect.Value) {
		if from.IsNil() {
			return
		}
		to.Set(reflect.MakeMapWithSize(t, from.Len()))
		for each := from.MapRange(); each.Next(); {
			v := reflect.New(t.Elem()).Elem()
			elem.copy(v, each.Value())
			to.SetMapIndex(each.Key(), v)
		}
	}}
}

func pointerCloner(t reflect.Type) *cloner {
	elem := newCloner(t.Elem()) // of a type that holds itself there is none among the documents
	if elem == nil {
		return nil
	}
	return &cloner{deep: func(to, from reflect.Value) {
		if from.IsNil() {
			return
		}
		v := reflect.New(t.Elem())
		elem.copy(v.Elem(), from.Elem())
		to.Set(v)
	}}
}
