# SPDX-License-Identifier: Apache-2.0
#
# Unit tests, fuzzers, lint and benchmarks. Included by the Makefile, whose names it uses.
#
# A test in C says in one of its first lines which sources it is linked with:
#
#   // links: server/wire_frame.c storage/*.c
#
# t/unit/NAME.c becomes $(OUT)/unit/NAME (cmocka), t/fuzz/NAME.c becomes build/fuzz/NAME
# (libFuzzer, by clang, with AddressSanitizer), with its seeds in t/fuzz/corpus/NAME.

UNIT_SOURCES := $(wildcard t/unit/*.c)
UNIT_TESTS := $(UNIT_SOURCES:t/%.c=$(OUT)/%)
FUZZ_SOURCES := $(wildcard t/fuzz/*.c)
FUZZERS := $(FUZZ_SOURCES:t/fuzz/%.c=$(FUZZ)/%)

links_of = $(wildcard $(shell sed -n '1,9s,^// links: ,,p' $1))

# ---- Unit tests ---------------------------------------------------------------------------------

define unit_test
$(OUT)/unit/$(basename $(notdir $1)): $(call objects_of,$1 $(call links_of,$1))
endef
$(foreach source,$(UNIT_SOURCES),$(eval $(call unit_test,$(source))))

$(UNIT_TESTS): $(OUT)/flags | build/deps-test
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o,$^) $(APR_LDLIBS) $(SQLITE_LDLIBS) -lcmocka -o $@

$(call objects_of,$(UNIT_SOURCES)): | build/deps-test

# ---- Fuzzers ------------------------------------------------------------------------------------

FUZZ_CFLAGS := -std=gnu11 -g -O1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
               $(WARNINGS) -fvisibility=hidden
fuzz_objects_of = $(patsubst %.c,build/obj-fuzz/%.o,$1)

define fuzzer
$(FUZZ)/$(basename $(notdir $1)): $(call fuzz_objects_of,$1 $(call links_of,$1))
endef
$(foreach source,$(FUZZ_SOURCES),$(eval $(call fuzzer,$(source))))

build/obj-fuzz/%.o: %.c Makefile t/tests.mk build/config.mk | build/deps-test
	@mkdir -p $(@D)
	$(call say,fuzz,$<)
	$(Q)clang $(FUZZ_CFLAGS) $(call includes_of,$<) -MMD -MP -c $< -o $@

$(FUZZERS):
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)clang -fsanitize=fuzzer,address,undefined $^ $(APR_LDLIBS) $(SQLITE_LDLIBS) -o $@

fuzz: $(FUZZERS) .venv/.test
	@.venv/bin/python -m t.run --only fuzz --fuzz-seconds $(FUZZ_SECONDS) $(FUZZERS)

# ---- All tests ----------------------------------------------------------------------------------

# ThreadSanitizer wants its memory where a kernel that randomizes much may have put something else.
FIXED_ADDRESSES = $(if $(filter thread,$(SANITIZE)),$(shell setarch -R true 2>&- && echo setarch -R))

test: all $(UNIT_TESTS) $(FUZZERS) .venv/.test $(if $(SANITIZE),$(VENV)) build/deps-test
	@$(FIXED_ADDRESSES) $(VENV)/bin/python -m t.run --build $(OUT) --sanitize "$(SANITIZE)" --cc "$(CC)" $(UNIT_TESTS) $(FUZZERS)

soak: all .venv/.test build/deps-test
	SOAK_MINUTES=$(SOAK_MINUTES) .venv/bin/python -m pytest -m soak t

# ---- Benchmarks ---------------------------------------------------------------------------------

bench: all .venv/.bench build/deps-bench
	.venv/bin/python -m t.bench.run

# ---- Lint ---------------------------------------------------------------------------------------

C_FILES := $(wildcard *.[ch] server/*.[ch] stages/*.[ch] storage/*.[ch] python/*.[ch] \
           t/unit/*.[ch] t/fuzz/*.[ch] t/stages/*.[ch])
PYTHON_FOLDERS := python t
CPPCHECK_FLAGS := --quiet --error-exitcode=1 --std=c11 --inline-suppr \
                  --enable=warning,performance,portability \
                  --suppressions-list=t/lint/cppcheck.txt \
                  -I. -D__GNUC__ -DPIPELINE_LINT --template=gcc

LINTS := lint-compile lint-layout lint-format lint-cppcheck lint-python
.PHONY: $(LINTS)

# make -k lint goes on after the first check that fails.
lint: $(LINTS)

lint-compile: build/deps-test
	@$(MAKE) --no-print-directory CC=gcc objects
	@$(MAKE) --no-print-directory CC=clang objects

lint-layout: .venv/.test
	.venv/bin/python -m t.lint.includes
	.venv/bin/python -m t.lint.sizes

lint-format: build/deps-test
	clang-format --dry-run -Werror $(C_FILES)

lint-cppcheck: build/deps-test
	cppcheck $(CPPCHECK_FLAGS) $(filter %.c,$(C_FILES))

lint-python: .venv/.test
	.venv/bin/ruff check $(PYTHON_FOLDERS)
	.venv/bin/ruff format --check $(PYTHON_FOLDERS)

format: build/deps-test .venv/.test
	clang-format -i $(C_FILES)
	.venv/bin/ruff format --quiet $(PYTHON_FOLDERS)

-include $(patsubst %.c,$(OBJ)/%.d,$(UNIT_SOURCES)) $(patsubst %.c,build/obj-fuzz/%.d,$(FUZZ_SOURCES) $(ALL_SOURCES))
