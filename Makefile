# SPDX-License-Identifier: MIT
#
# One Makefile for the whole tree. Sources are found by wildcard: a new file needs no edit here.
#
#   make                     build all that can be built into $(BUILD), one line a file
#   make demo                set-up, build, model, one prompt
#   make check [T=name]      set-up, build, every test (or the named ones)
#   make check-fast          the same without the slow ones
#   make install uninstall   with DESTDIR= and PREFIX=
#   make clean               remove $(BUILD) and its sanitizer siblings
#
#   V=1                      show the commands
#   CC=clang                 another compiler
#   WERROR=0                 warnings stay warnings
#   SAN=address,undefined    (or address, undefined, thread) instrumented build in its own directory
#   RARE="-DLLM_..."         switches that make a rare path happen each time; added to CFLAGS

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
WERROR  ?= 1
V       ?= 0
SAN     ?=
RARE    ?=
FUZZ    ?=
MODEL   ?= models/SmolLM2-135M-Instruct.Q4_1.gguf
ifeq ($(origin CC),default)
CC      := gcc
endif
AR      ?= ar
VERSION := 0.1.0
SOVERSION := 0

comma := ,
sanitizers := $(subst $(comma), ,$(SAN))
ifneq ($(filter-out address undefined thread,$(sanitizers)),)
$(error SAN=$(SAN): known are address, undefined, thread and address,undefined)
endif
# The directory that this build writes to; tests are told it as BUILD.
O := $(BUILD)
ifneq ($(SAN),)
O := $(subst $() ,,$(BUILD) $(patsubst %,-%,$(subst address,asan,$(subst undefined,ubsan,$(subst \
	thread,tsan,$(sanitizers))))))
endif

Q   := $(if $(filter 1,$(V)),,@)
say  = @printf '  %-7s %s\n'

# ---- libraries ---------------------------------------------------------------------------------

PKGS    := liburing libpcre2-8 jansson inih libsodium libutf8proc libsystemd hwloc numa
LACKING := $(shell for p in $(PKGS); do pkg-config --exists $$p 2>/dev/null || echo $$p; done)
PKG_CFLAGS := $(shell pkg-config --cflags $(filter-out $(LACKING),$(PKGS)) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(filter-out $(LACKING),$(PKGS)) 2>/dev/null)

# ---- flags -------------------------------------------------------------------------------------

WARN     := -Wall -Wextra -Wshadow -Wconversion $(if $(filter 1,$(WERROR)),-Werror)
CPPFLAGS += -D_GNU_SOURCE -DLLM_VERSION='"$(VERSION)"' -I. -Ilib/include $(PKG_CFLAGS)
CFLAGS   ?= -O2 -g
BASE     := -std=gnu11 $(WARN) -ffp-contract=off -fno-strict-aliasing -pthread
# Frame pointers: for perf, and for the reports of sanitizers.
BASE     += -fno-omit-frame-pointer
LDLIBS   := $(PKG_LIBS) -lm -pthread
LDFLAGS  += -Wl,--as-needed
ifneq ($(SAN),)
SANFLAGS := -fsanitize=$(SAN) -fno-sanitize-recover=all $(if $(FUZZ),-fsanitize=fuzzer-no-link)
LDFLAGS  += $(SANFLAGS)
endif

KERNEL_OPT := -O3
ISA_AVX2   := -mavx2 -mfma -mf16c
ISA_AVX512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni $(ISA_AVX2)
PIC        := -fPIC -fvisibility=hidden

$(O)/obj/kernels/%.o:            LOCAL = $(KERNEL_OPT)
$(O)/obj/kernels/cpu/%_avx2.o:   LOCAL = $(KERNEL_OPT) $(ISA_AVX2)
$(O)/obj/kernels/cpu/%_avx512.o: LOCAL = $(KERNEL_OPT) $(ISA_AVX512)
$(O)/obj/lib/%.o:                LOCAL = $(PIC)
$(O)/obj/tests/fuzz/%.o:         LOCAL = $(if $(FUZZ),,-DFUZZ_STANDALONE)
$(O)/tests/fuzz/%:               LDFLAGS += $(if $(FUZZ),-fsanitize=fuzzer)

compile = $(CC) $(CPPFLAGS) $(CFLAGS) $(BASE) $(SANFLAGS) $(LOCAL) $(RARE)

# ---- sources -----------------------------------------------------------------------------------

engine_src  := $(filter-out daemon/main.c,$(wildcard daemon/*.c kernels/*.c kernels/*/*.c))
lib_src     := $(wildcard lib/*.c)
tools_src   := $(wildcard tools/*.c)
# tools/llmX.c is a program, tools/llmX_*.c its further files, every other file serves all tools.
tools_main  := $(foreach f,$(filter tools/llm%,$(tools_src)),$(if $(findstring _,$(notdir $f)),,$f))
tools_shared := $(filter-out tools/llm%,$(tools_src))
tools       := $(tools_main:tools/%.c=%)
offline     := llmbench llmeval llmtok llmplan
examples    := $(patsubst %.c,%,$(wildcard examples/*.c))
# tests/NAME.c is a program that tests use, tests/NAME_*.c its further files; in the folders below
# one file is one program.
tests_src   := $(wildcard tests/*.c)
tests_main  := $(foreach f,$(tests_src),$(if $(findstring _,$(notdir $f)),,$f))
tests_each  := $(wildcard tests/unit/*.c tests/kernels/*.c tests/fuzz/*.c)
test_progs  := $(patsubst %.c,%,$(tests_main) $(tests_each) $(wildcard tests/e2e/*.c))

obj = $(patsubst %.c,$(O)/obj/%.o,$(1))

engine_ok := $(if $(LACKING),,$(if $(engine_src),y))
lib_ok    := $(if $(filter liburing,$(LACKING)),,$(if $(lib_src),y))

programs :=
ifneq ($(engine_ok),)
programs += $(O)/libengine.a $(if $(wildcard daemon/main.c),$(O)/llmd)
endif
ifneq ($(lib_ok),)
programs += $(O)/libllm.a $(if $(wildcard lib/libllm.map),$(O)/libllm.so)
programs += $(addprefix $(O)/,$(filter-out $(offline),$(tools)) $(examples))
endif
ifneq ($(and $(engine_ok),$(lib_ok)),)
programs += $(addprefix $(O)/,$(filter $(offline),$(tools)))
test_bins := $(addprefix $(O)/,$(test_progs))
endif

# ---- targets -----------------------------------------------------------------------------------

.PHONY: all programs tests skipped setup demo check check-fast san install uninstall clean FORCE
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
all: programs tests skipped
programs: $(programs)
tests: $(test_bins)

# One line for each part that this machine cannot build, and why.
skipped:
	@for p in $(LACKING); do case $$p in \
	liburing) what="libllm, llmd, every tool";; \
	*) what="llmd, offline tools, tests";; \
	esac; printf '  %-7s %s: %s not found (see tools/setup.sh)\n' SKIP "$$what" $$p; done

# Stamps: their text changes when flags or file lists do, and with it everything built from them.
flags_text = $(CC) $(CPPFLAGS) $(CFLAGS) $(BASE) $(SANFLAGS) $(RARE) $(KERNEL_OPT) $(ISA_AVX512) \
	$(PIC)
link_text  = $(LDFLAGS) $(LDLIBS) $(engine_src) $(lib_src) $(tools_src)
stamp = @mkdir -p $(@D); printf '%s\n' '$(subst ','\'',$(1))' | cmp -s - $@ || \
	printf '%s\n' '$(subst ','\'',$(1))' > $@
$(O)/flags: FORCE
	$(call stamp,$(flags_text))
$(O)/links: FORCE
	$(call stamp,$(link_text))

$(O)/obj/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(compile) -MMD -MP -c -o $@ $<

archive = $(Q)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)
link    = $(Q)mkdir -p $(@D) && \
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS)

$(O)/libengine.a: $(call obj,$(engine_src)) $(O)/links
	$(say) AR $@
	$(archive)
$(O)/libllm.a: $(call obj,$(lib_src)) $(O)/links
	$(say) AR $@
	$(archive)
$(O)/libtool.a: $(call obj,$(tools_shared)) $(O)/links
	$(archive)
$(O)/libllm.so: $(call obj,$(lib_src)) lib/libllm.map $(O)/links
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libllm.so.$(SOVERSION) \
		-Wl,--version-script=lib/libllm.map $(if $(SAN),,-Wl,-z$(comma)defs) \
		-o $@ $(filter %.o,$^) $(LDLIBS)
	$(Q)ln -sf libllm.so $@.$(SOVERSION)

$(O)/llmd: $(O)/obj/daemon/main.o $(O)/libengine.a
	$(say) LD $@
	$(link)

# $(1): tool, $(2): the archives it links
define tool_rule
$(O)/$(1): $(call obj,tools/$(1).c $(filter tools/$(1)_%,$(tools_src))) $(O)/libtool.a $(2) \
		$(O)/links
	$$(say) LD $$@
	$$(link)
endef
tool_archives = $(if $(filter $(offline),$(1)),$(O)/libengine.a) $(O)/libllm.a
$(foreach t,$(tools),$(eval $(call tool_rule,$t,$(call tool_archives,$t))))

$(addprefix $(O)/,$(examples)): $(O)/%: $(O)/obj/%.o $(O)/libllm.a $(O)/links
	$(say) LD $@
	$(link)

define test_rule
$(O)/$(1): $(call obj,$(1).c $(filter $(1)_%,$(tests_src))) $(O)/libengine.a $(O)/libllm.a \
		$(O)/links
	$$(say) LD $$@
	$$(link)
endef
$(foreach t,$(test_progs),$(eval $(call test_rule,$t)))

# Measurements, built and run when asked for by name: make bench-sched
$(foreach t,$(patsubst %.c,%,$(wildcard tests/bench/*.c)),$(eval $(call test_rule,$t)))
bench-%: $(O)/tests/bench/%
	$<
# Fuzzing without an end, by clang's libFuzzer: make fuzz-gguf [ARGS=-max_total_time=60]. Names of
# functions stay off: the symbolizer's pipes are descriptors that the targets did not open.
fuzz-%:
	$(Q)$(MAKE) --no-print-directory CC=clang SAN=address,undefined FUZZ=1 BUILD=$(BUILD)-fuzz \
		$(BUILD)-fuzz-asan-ubsan/tests/fuzz/fuzz_$*
	$(BUILD)-fuzz-asan-ubsan/tests/fuzz/fuzz_$* -print_funcs=0 $(ARGS)

# ---- the two commands --------------------------------------------------------------------------

# Set-up may install the very libraries that this file asks pkg-config for, so what follows it is a
# make of its own.
parallel = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

setup:
	@tools/setup.sh

demo: setup
	@$(MAKE) --no-print-directory $(parallel) programs skipped
	@tools/fetch-model.sh
	@$(O)/llm run -m $(MODEL) --raw -n 64 "The capital of France is"

check check-fast: setup
	@BUILD=$(BUILD) CC=$(CC) tests/run.sh $(if $(filter check-fast,$@),--fast) \
		$(patsubst %,'%',$(T))

# What the tests marked `san` need, in an instrumented build (SAN=...); tests/run.sh asks for it.
san_marked = $(shell grep -lE '\bMarks:.*\bsan\b' $(tests_each) /dev/null)
san: $(programs) $(patsubst %.c,$(O)/%,$(tests_main) $(wildcard tests/e2e/*.c) $(san_marked))

# ---- installation ------------------------------------------------------------------------------

bindir  := $(DESTDIR)$(PREFIX)/bin
sbindir := $(DESTDIR)$(PREFIX)/sbin
libdir  := $(DESTDIR)$(PREFIX)/lib
incdir  := $(DESTDIR)$(PREFIX)/include
mandir  := $(DESTDIR)$(PREFIX)/share/man
unitdir := $(DESTDIR)$(PREFIX)/lib/systemd/system
usersdir := $(DESTDIR)$(PREFIX)/lib/sysusers.d
sharedir := $(DESTDIR)$(PREFIX)/share/devllm
mans    := $(wildcard man/*.[1-9])

install: programs
	$(say) INSTALL $(DESTDIR)$(PREFIX)
	$(Q)install -d $(bindir) $(sbindir) $(libdir)/pkgconfig $(incdir) $(unitdir) $(usersdir)
	$(Q)install -m 755 $(addprefix $(O)/,$(tools)) $(bindir)
	$(Q)install -m 755 $(O)/llmd $(sbindir)
	$(Q)install -m 755 $(O)/libllm.so $(libdir)/libllm.so.$(VERSION)
	$(Q)ln -sf libllm.so.$(VERSION) $(libdir)/libllm.so.$(SOVERSION)
	$(Q)ln -sf libllm.so.$(SOVERSION) $(libdir)/libllm.so
	$(Q)install -m 644 $(O)/libllm.a $(libdir)
	$(Q)install -m 644 lib/include/llm.h $(incdir)
	$(Q)sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' lib/libllm.pc.in \
		> $(libdir)/pkgconfig/libllm.pc
	$(Q)for m in $(mans); do \
		install -D -m 644 $$m $(mandir)/man$${m##*.}/$${m##*/} || exit 1; done
	$(Q)sed 's|@PREFIX@|$(PREFIX)|' packaging/systemd/llmd.service > $(unitdir)/llmd.service
	$(Q)install -m 644 packaging/sysusers.d/devllm.conf $(usersdir)
	$(Q)install -D -m 644 packaging/llmd.conf $(sharedir)/llmd.conf
# Without DESTDIR this machine will run it, so its linker must know the library.
	$(Q)if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

uninstall:
	$(say) REMOVE $(DESTDIR)$(PREFIX)
	$(Q)rm -f $(addprefix $(bindir)/,$(tools)) $(sbindir)/llmd $(incdir)/llm.h
	$(Q)rm -f $(libdir)/libllm.a $(libdir)/libllm.so $(libdir)/libllm.so.$(SOVERSION) \
		$(libdir)/libllm.so.$(VERSION) $(libdir)/pkgconfig/libllm.pc
	$(Q)rm -f $(foreach m,$(mans),$(mandir)/man$(subst .,,$(suffix $m))/$(notdir $m))
	$(Q)rm -f $(unitdir)/llmd.service $(usersdir)/devllm.conf $(sharedir)/llmd.conf

clean:
	$(Q)rm -rf $(BUILD) $(addprefix $(BUILD)-,asan ubsan asan-ubsan tsan fuzz-asan-ubsan gcc \
		clang)

FORCE:

-include $(shell find $(O)/obj -name '*.d' 2>/dev/null)
