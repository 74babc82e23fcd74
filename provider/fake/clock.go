package fake

import "time"

// The one place where the system's clock is read: it stands for the kernel's, which counts on whatever anybody does to
// the wall clock.

func started() time.Time { return time.Now() } //nolint:forbidigo // a kernel's clock

func (f *Firewall) uptime() time.Duration { return time.Since(f.kernel) } //nolint:forbidigo // a kernel's clock
