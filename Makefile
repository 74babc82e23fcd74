# Ajar. On a fresh Debian or Ubuntu with Go, `make demo` and `make test` install what they need by themselves.
SHELL := /bin/bash
GO ?= go
FUZZTIME ?= 5m
SOAKTIME ?= 10m

.PHONY: help build demo test bench fuzz vm soak

help: ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## static binaries into ./bin
	@mkdir -p bin
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/...

demo: ## real ports of real hosts open and close on time, in network namespaces (KEEP=1 leaves it running)
	@scripts/deps demo
	@$(MAKE) --no-print-directory build
	@KEEP=$(KEEP) bin/ajar-demo

test: ## everything that must hold: format, vet, lint, tests with the race detector, fuzz, cross-builds, both demos
	@scripts/deps test
	@scripts/check

bench: ## one line `metric value unit` each (QUICK=1: fewer runs, under two minutes)
	@scripts/deps test
	@$(MAKE) --no-print-directory build
	@QUICK=$(QUICK) bin/ajar-bench

fuzz: ## every parser, FUZZTIME=5m each
	@scripts/fuzz $(FUZZTIME)

vm: ## a whole Debian under qemu: the systemd units, reboots, power cuts, an old kernel, suspend (SUITE=1: nftables' tests)
	@scripts/deps vm
	@$(MAKE) --no-print-directory build
	@scripts/vm

soak: ## every cell of the kill matrices; kills at random, churn and the models for SOAKTIME=10m each; lists of a million rows
	@scripts/deps test
	@AJAR_SOAK=$(SOAKTIME) $(GO) test -count=1 -timeout 24h -p 1 -run 'Kill|Model|Scale|Churn' -v ./lab/... ./ajartest/...
	@SUITE=1 $(MAKE) --no-print-directory vm
