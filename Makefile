SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo demo-stop test soak fuzz bench tools

# The pinned tools win over what the machine has, in every target and in the tests they run.
export PATH := $(CURDIR)/.tools/bin:$(PATH)

demo_needs := compiler ffmpeg rclone grpcurl
fuzz_needs := compiler fuzzer
test_needs := $(demo_needs) $(fuzz_needs) players clients archive-tools backup-servers moto postgresql rust-lints buf protoc-gen-doc cargo-deny
bench_needs := compiler ffmpeg rclone backup-servers s3s-fs postgresql

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Install what is missing, make sample footage, start the server, cut a clip
	@.ci/install.sh $(demo_needs)
	@.ci/demo.sh

demo-stop: ## Stop the server that the demo left running
	@.ci/demo.sh stop

test: ## Install what is missing, check format, lints, docs, licences and the contract, run every test
	@.ci/install.sh $(test_needs)
	@.ci/test.sh

soak: ## Install what is missing, kill the server 500 times on SQLite and 200 times on PostgreSQL
	@.ci/install.sh $(demo_needs) postgresql
	HELDAR_TEST_KILLS=500 cargo test --locked --test service kills:: -- --nocapture
	HELDAR_TEST_KILLS=200 HELDAR_TEST_POSTGRES=1 cargo test --locked --test service kills:: -- --nocapture

fuzz: ## Install what is missing, try hostile recordings on the parser and the cut for SECONDS each (60)
	@.ci/install.sh $(fuzz_needs)
	@.ci/fuzz.sh $(SECONDS)

bench: ## Install what is missing, run the benchmarks
	@.ci/install.sh $(bench_needs)
	cargo bench --locked -- $(ARGS)

tools: ## Only install what the other targets need
	@.ci/install.sh $(test_needs)
