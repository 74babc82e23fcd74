//go:build linux

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// openPart measures one opening on an otherwise idle plane, by the API and by the whole command.
func (b *bench) openPart(ctx context.Context) error {
	r, err := b.rig(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	all, err := r.openings(ctx, b.n(400, 100))
	if err != nil {
		return err
	}
	b.base = median(fromCall(all))
	b.note("open: from sending the call on a connection that stands, until a TCP connection to the host comes about")
	b.spread("open", fromCall(all))
	b.spread("open, from the answer", fromAnswer(all))
	b.metric("open_p50", ms(b.base), "ms")
	b.metric("open_p99", ms(p99(fromCall(all))), "ms")
	if err := b.cli(ctx, r); err != nil {
		return err
	}
	return b.revoke(ctx, r)
}

// cli measures `ajar open --wait` from its start to its end.
func (b *bench) cli(ctx context.Context, r *rig) error {
	env, err := r.AddPerson(ctx, "dana", "Just-in-time Requester")
	if err != nil {
		return err
	}
	ajar := filepath.Join(b.bin, "ajar")
	var ds []time.Duration
	for i := range b.n(60, 15) {
		began := time.Now()
		_, err := r.Requester.Output(ctx, env, ajar, "open", r.vm.Name, fmt.Sprint(port(i)), "--for", "10m", "--reason", "bench", "--wait")
		took := time.Since(began)
		if err != nil {
			return fmt.Errorf("ajar open: %w", err)
		}
		if err := r.Requester.Try(r.at(i)); err != nil {
			return fmt.Errorf("the command ended before the port was open: %w", err)
		}
		if _, err := r.Requester.Output(ctx, env, ajar, "close", r.vm.Name, fmt.Sprint(port(i))); err != nil {
			return fmt.Errorf("ajar close: %w", err)
		}
		ds = append(ds, took)
	}
	b.spread("cli_open", ds)
	b.metric("cli_open_p50", ms(median(ds)), "ms")
	return nil
}

// revoke measures from sending a revocation until the last byte of a live session.
func (b *bench) revoke(ctx context.Context, r *rig) error {
	var ds []time.Duration
	for i := range b.n(60, 20) {
		req, err := r.ask(ctx, i, time.Time{}, 10*time.Minute)
		if err != nil {
			return err
		}
		if _, err := r.Requester.AwaitOpen(ctx, r.at(i)); err != nil {
			return err
		}
		talk, err := r.Requester.Talk(ctx, r.vm, port(i))
		if err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond) // let it talk
		began := time.Now()
		if _, err := r.c.Revoke(ctx, req.ID, "bench"); err != nil {
			return err
		}
		select {
		case <-talk.Done():
		case <-time.After(5 * time.Second):
			return fmt.Errorf("a live session outlived its revocation by 5 s")
		}
		ds = append(ds, max(0, talk.LastByte().Sub(began)))
	}
	b.spread("revoke_cut", ds)
	b.metric("revoke_cut_p50", ms(median(ds)), "ms")
	return nil
}

// crowdPart measures one opening on a host that has 10,000 others.
func (b *bench) crowdPart(ctx context.Context) error {
	r, err := b.rig(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	before, err := r.openings(ctx, b.n(200, 60))
	if err != nil {
		return err
	}
	if u, err := r.vm.Agent().Usage(); err == nil {
		b.note("agent_rss: %s MB with %d ports guarded and nothing open", figure(mb(u.RSS)), nPorts+1)
	}
	if err := r.crowd(ctx, 10_000); err != nil {
		return err
	}
	after, err := r.openings(ctx, b.n(200, 60))
	if err != nil {
		return err
	}
	b.spread("open, alone", fromCall(before))
	b.spread("open, beside 10,000 on that host", fromCall(after))
	b.metric("open_10k_one_host_ratio", ratio(after, before), "x")
	u, err := r.vm.Agent().Usage()
	if err != nil {
		return err
	}
	b.note("agent_rss: with 10,000 openings")
	b.metric("agent_rss", mb(u.RSS), "MB")
	return nil
}

func ratio(after, before []opening) float64 {
	return float64(median(fromCall(after))) / float64(median(fromCall(before)))
}

func mb(bytes int64) float64 { return float64(bytes) / 1e6 }
