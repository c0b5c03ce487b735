# SPDX-License-Identifier: Apache-2.0
#
# make            the two modules, the Python package and .venv
# make demo       starts the example site in the foreground (PORT=8080, DEMO_DIR=)
# make test       installs what the tests need and runs them all (SANITIZE=address|thread)
# make bench      side by side with other servers and storages
# make lint       format, include rules, sizes, static analysis, gcc and clang
# make format     rewrites all sources in the house format
# make fuzz       all fuzzers for FUZZ_SECONDS in all
# make soak       the long tests, SOAK_MINUTES of load
# make deps       the Debian packages for all of these (root), else says which are missing
# make install    the modules, the package and conf.d (DESTDIR=, PREFIX=)
# make clean      removes build/ and .venv
#
# CC=clang and CFLAGS_EXTRA= work with every target; objects of other flags are not mixed.
# V=1 shows the commands.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
ifeq ($(MAKELEVEL),0)
# Every core: compiling takes half a minute on one, and a first demo should not wait for it.
MAKEFLAGS += -j$(shell nproc)
endif
.PHONY: all objects demo test bench lint format fuzz soak deps install clean

ifeq ($(origin CC),default)
CC := gcc
endif
PYTHON ?= /usr/bin/python3
SANITIZE ?=
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60
SOAK_MINUTES ?= 60

# A sanitized build has its own products; compilers share them, but never their objects.
OUT := build$(if $(SANITIZE),/$(SANITIZE))
OBJ := build/obj-$(notdir $(firstword $(CC)))$(if $(SANITIZE),-$(SANITIZE))
FUZZ := build/fuzz

Q := $(if $(V),,@)
say = @printf '  %-5s %s\n' '$1' '$2'

# ---- What this machine has ----------------------------------------------------------------------
# build/config.mk is made first, by installing what the build needs and asking it for its flags;
# make then starts over with these. Targets that build nothing must work without it.

ifneq ($(filter-out clean deps,$(or $(MAKECMDGOALS),all)),)
include build/config.mk
endif

build/config.mk: requirements/configure.sh requirements/apt-build.txt
	@requirements/deps.sh build
	@mkdir -p $(@D)
	@requirements/configure.sh $(PYTHON) > $@

build/deps-%: requirements/apt-%.txt
	@requirements/deps.sh $*
	@mkdir -p $(@D)
	@touch $@

deps:
	requirements/deps.sh build test bench

# ---- Flags --------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings \
            -Wundef -Wformat=2 -Wvla -Werror
OPTIMIZE := $(if $(SANITIZE),-O1 -fno-omit-frame-pointer -fsanitize=$(SANITIZE),\
            -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong)
CFLAGS := -std=gnu11 -g $(OPTIMIZE) $(WARNINGS) -fPIC -fvisibility=hidden $(CFLAGS_EXTRA)
# clang links its sanitizers statically into programs, which a module loaded by one is not.
SANITIZE_LIBRARY := $(if $(findstring clang,$(CC)),-shared-libsan)
LDFLAGS := -Wl,-z,relro,-z,now \
           $(if $(SANITIZE),-fsanitize=$(SANITIZE) $(SANITIZE_LIBRARY)) $(LDFLAGS_EXTRA)

# Each folder sees only the headers that it may use (rule 1 of the layout): the storage and the
# wire compile without httpd and Python.
INCLUDES := -I. $(APR_CFLAGS)
HTTPD := $(HTTPD_CFLAGS) -DPIPELINE_PYTHON_VERSION=\"$(PYTHON_VERSION)\"
WITH_PYTHON := $(HTTPD_CFLAGS) $(PYTHON_CFLAGS)
includes_of = $(INCLUDES) $(strip \
    $(if $(filter python/% stages/% t/%,$1),$(WITH_PYTHON),\
    $(if $(filter server/wire_% storage/%,$1),$(SQLITE_CFLAGS),$(HTTPD))))

# ---- Sources ------------------------------------------------------------------------------------

MODULE_SOURCES := mod_pipeline.c $(wildcard server/*.c stages/order*.c)
STORAGE_SOURCES := $(wildcard storage/*.c)
INTERP_SOURCES := $(wildcard python/interp_*.c) \
                  $(filter-out stages/order%.c,$(wildcard stages/*.c)) $(STORAGE_SOURCES)
EXTENSION_SOURCES := $(wildcard python/_storage*.c) $(STORAGE_SOURCES)
ALL_SOURCES := $(sort $(MODULE_SOURCES) $(INTERP_SOURCES) $(EXTENSION_SOURCES))
PACKAGE_FILES := $(shell find python/mod_pipeline -type f ! -name '*.py[co]' 2>/dev/null)

objects_of = $(patsubst %.c,$(OBJ)/%.o,$1)

MODULE := $(OUT)/mod_pipeline.so
INTERP := $(OUT)/mod_pipeline_python$(PYTHON_VERSION).so
PACKAGE := $(OUT)/lib/mod_pipeline
EXTENSION := $(PACKAGE)/_storage$(PYTHON_SUFFIX)

# ---- Building -----------------------------------------------------------------------------------

all: $(MODULE) $(INTERP) $(EXTENSION) $(PACKAGE_FILES:python/%=$(OUT)/lib/%) .venv/.runtime

objects: $(call objects_of,$(ALL_SOURCES) $(wildcard t/unit/*.c))

# A file that holds the flags changes only with them, so that make sees when they do.
define stamp
ifneq ($$(file <$1),$2)
$$(shell mkdir -p $$(dir $1))
$$(file >$1,$2)
endif
endef
ifdef PYTHON_VERSION
$(eval $(call stamp,$(OBJ)/flags,$(CC) $(CFLAGS)))
$(eval $(call stamp,$(OUT)/flags,$(CC) $(CFLAGS) $(LDFLAGS)))
endif

$(OBJ)/%.o: %.c $(OBJ)/flags build/config.mk
	@mkdir -p $(@D)
	$(call say,$(CC),$<)
	$(Q)$(CC) $(CFLAGS) $(call includes_of,$<) -MMD -MP -c $< -o $@

# The module resolves httpd's symbols, and the interpreter module those of both, when loaded.
$(MODULE): $(call objects_of,$(MODULE_SOURCES))
$(INTERP): $(call objects_of,$(INTERP_SOURCES))
$(INTERP): LDLIBS := $(PYTHON_LDLIBS) $(SQLITE_LDLIBS)
$(EXTENSION): $(call objects_of,$(EXTENSION_SOURCES))
$(EXTENSION): LDLIBS := $(APR_LDLIBS) $(SQLITE_LDLIBS)

$(MODULE) $(INTERP) $(EXTENSION): $(OUT)/flags
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) -shared $(LDFLAGS) $(filter %.o,$^) $(LDLIBS) -o $@

# Links, so that an edited .py is seen without another make.
$(OUT)/lib/%: | python/%
	@mkdir -p $(@D)
	@ln -srf python/$* $@

# ---- Python -------------------------------------------------------------------------------------

SITE_PACKAGES := .venv/lib/python$(PYTHON_VERSION)/site-packages
requirements/demo.txt requirements/test.txt requirements/bench.txt: requirements/runtime.txt

# The .pth is relative to its folder: a tree that is moved keeps its imports.
.venv/.created: build/config.mk
	$(call say,venv,$(@D))
	$(Q)$(PYTHON) -m venv .venv
	@echo ../../../../build/lib > $(SITE_PACKAGES)/mod_pipeline.pth
	@touch $@

.venv/.%: requirements/%.txt .venv/.created
	$(call say,pip,$<)
	$(Q).venv/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# A sanitized build has an environment of its own that lends .venv's packages, but not ours.
VENV := $(if $(SANITIZE),$(OUT)/venv,.venv)

build/address/venv build/thread/venv: | .venv/.created
	$(call say,venv,$@)
	$(Q)$(PYTHON) -m venv --without-pip $@
	@printf '%s\n' ../../../../lib ../../../../../../$(SITE_PACKAGES) \
	    > $@/lib/python$(PYTHON_VERSION)/site-packages/mod_pipeline.pth

# ---- Running ------------------------------------------------------------------------------------

# Ctrl-C is kept until Python can answer it: one that still starts would print where it was.
demo: all .venv/.demo
	exec env --block-signal=INT --block-signal=TERM .venv/bin/python -m mod_pipeline.demo

include t/tests.mk

# ---- Installing ---------------------------------------------------------------------------------

DIST_PACKAGES := $(PREFIX)/lib/python$(PYTHON_VERSION)/dist-packages
SHARE := $(PREFIX)/share/mod_pipeline

INSTALLED_MODULES := $(DESTDIR)$(HTTPD_LIBEXECDIR)
INSTALLED_PACKAGE := $(DESTDIR)$(DIST_PACKAGES)/mod_pipeline
INSTALLED_SHARE := $(DESTDIR)$(SHARE)
PACKAGE_NAMES := $(PACKAGE_FILES:python/mod_pipeline/%=%) $(notdir $(EXTENSION))
PACKAGE_FOLDERS := $(patsubst %/,%,$(sort $(dir $(addprefix $(INSTALLED_PACKAGE)/,$(PACKAGE_NAMES)))))

# A file of a running process must never be written into: install(1) removes it and makes another,
# with the mode that is asked for, whatever the umask. The package's folder is ours, so what is in
# it and was not installed is an older version's; folders that exist keep their modes.
install: all
	for folder in $(INSTALLED_MODULES) $(PACKAGE_FOLDERS) $(INSTALLED_SHARE)/conf.d; do \
	    test -d $$folder || install -d -m 755 $$folder || exit; done
	install -m 644 $(MODULE) $(INTERP) $(INSTALLED_MODULES)
	for name in $(PACKAGE_NAMES); do \
	    install -m 644 $(PACKAGE)/$$name $(INSTALLED_PACKAGE)/$$name || exit; done
	find $(INSTALLED_PACKAGE) ! -type d $(PACKAGE_NAMES:%=! -path '$(INSTALLED_PACKAGE)/%') -delete
	find $(INSTALLED_PACKAGE) -type d -empty -delete
	install -m 644 requirements/runtime.txt $(INSTALLED_SHARE)
	install -m 644 $(wildcard conf.d/*) $(INSTALLED_SHARE)/conf.d
	@echo "Modules:        $(INSTALLED_MODULES)"
	@echo "Python package: $(INSTALLED_PACKAGE)"
	@echo "Configuration:  $(INSTALLED_SHARE)/conf.d (and runtime.txt, the PyPI requirements)"

clean:
	rm -rf build .venv

-include $(patsubst %.c,$(OBJ)/%.d,$(ALL_SOURCES))
