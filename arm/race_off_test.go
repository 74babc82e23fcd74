//go:build !race

package arm

const thin = 1
