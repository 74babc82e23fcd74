package authn

// ForgetAll drops from memory what is known of all tokens, some of which changed elsewhere.
func (a *Authn) ForgetAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forgets++
	clear(a.tokens)
}
