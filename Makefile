# GNU make. `make help` says what there is.

PREFIX     ?= /usr/local
DESTDIR    ?=
BINDIR     ?= $(PREFIX)/bin
LIBEXECDIR ?= $(PREFIX)/libexec/incusbox
MANDIR     ?= $(PREFIX)/share/man/man1
DOCDIR     ?= $(PREFIX)/share/doc/incusbox
BASHDIR    ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR     ?= $(PREFIX)/share/zsh/site-functions
FISHDIR    ?= $(PREFIX)/share/fish/vendor_completions.d

CARGO      ?= tests/with-toolchain cargo
TARGET     := $(or $(CARGO_TARGET_DIR),target)
# Asked only where the agent is built.
HOST        = $(shell $(CARGO) -vV | sed -n 's/^host: //p')
# A static C runtime, for a box has any libc or none; not position-independent, which is smaller;
# a build id, by which incusbox-run names the agent's file in a box.
# Optimized for its size too: it is copied into each box, and most of its work is the kernel's.
AGENTCONFIG := --config 'profile.release.opt-level="s"'
AGENTFLAGS := -C target-feature=+crt-static -C relocation-model=static -C link-arg=-Wl,--build-id=sha1

# One set for all that is not installed, so that it is compiled once; tests/run has the same.
DEVFEATURES := --features agent,docs,integration

UNITDIR    ?= $(PREFIX)/lib/systemd/user

UNITS      := incusbox-box@.service incusbox-session.service incusbox-session.socket \
              incusbox-watch.service incusbox-watch.path
# What starts with every user's session.
WANTED     := sockets.target.wants/incusbox-session.socket paths.target.wants/incusbox-watch.path

# Names by which incusbox is called as one of its subcommands.
LINKS      := $(addprefix incusbox-,create enter export list rm)
PAGES      := incusbox-run.1 incusbox.1 $(addsuffix .1,$(addprefix incusbox-,create enter list info \
              start stop restart rename rm set adopt apps export unexport watch upgrade setup doctor))
INSTALLED  := $(addprefix $(BINDIR)/,incusbox-run incusbox $(LINKS)) $(LIBEXECDIR)/incusbox-agent \
              $(addprefix $(MANDIR)/,$(PAGES)) $(addprefix $(UNITDIR)/,$(UNITS) $(WANTED)) \
              $(foreach name,incusbox-run incusbox,$(BASHDIR)/$(name) $(ZSHDIR)/_$(name) $(FISHDIR)/$(name).fish) \
              $(foreach name,$(LINKS),$(BASHDIR)/$(name) $(FISHDIR)/$(name).fish) \
              $(addprefix $(DOCDIR)/,LICENSE-MIT LICENSE-APACHE README.md CHANGELOG.md)

FUZZ_SECONDS ?= 15
export FUZZ_SECONDS CARGO

.DEFAULT_GOAL := build
.PHONY: help build program agent documents install uninstall lint unit integration kde fuzz test demo bench clean

help:
	@echo 'make                 build both programs, man page and completions'
	@echo 'make install         put them under PREFIX ($(PREFIX)), below DESTDIR if that is set'
	@echo 'make uninstall       take them away again'
	@echo 'make demo            set up the test bed, build, show in a minute what incusbox does'
	@echo 'make test            set up the test bed, build, run everything below'
	@echo '  make lint          formatting, clippy, rustdoc, tests/checks'
	@echo '  make unit          tests that need no Incus'
	@echo '  make integration   tests against a real Incus, and against a faulty one'
	@echo '  make fuzz          each fuzz target for FUZZ_SECONDS ($(FUZZ_SECONDS))'
	@echo 'make kde             tests with Plasma 5 and 6, which they install into hosts of their own'
	@echo 'make bench           measure against `incus exec` (about seven minutes)'
	@echo 'make clean           remove what was built; tests/testbed/down --purge removes the test bed'
	@echo
	@echo 'demo, test, integration, kde and bench need root: they call sudo when they are not root.'

# What is built ends up at a place whose name does not hold the machine's, for install and checks.
build: program agent documents

program: $(TARGET)/package
	$(CARGO) build --locked --release --bin incusbox-run
	@# By itself: what incusbox links must not change incusbox-run.
	$(CARGO) build --locked --release --features cli --bin incusbox
	cp -f $(TARGET)/release/incusbox-run $(TARGET)/release/incusbox $(TARGET)/package/

# In a directory of its own, so that `make -j` builds it beside the others, of which each takes one
# processor for most of its time.
agent: $(TARGET)/package
	CARGO_TARGET_DIR=$(TARGET)/agent RUSTFLAGS="$(RUSTFLAGS) $(AGENTFLAGS)" $(CARGO) build --locked --release $(AGENTCONFIG) --features agent --bin incusbox-agent --target $(HOST)
	cp -f $(TARGET)/agent/$(HOST)/release/incusbox-agent $(TARGET)/package/

documents: $(TARGET)/package
	$(CARGO) run --locked --quiet $(DEVFEATURES) --bin incusbox-docs $(TARGET)/package

$(TARGET)/package:
	@mkdir -p $@

# Builds nothing, so that `make && sudo make install` runs no compiler as root.
install:
	@test -e $(TARGET)/package/incusbox-agent -a -e $(TARGET)/package/man/incusbox-run.1 || { echo 'Nothing is built yet: run make first.' >&2; exit 1; }
	install -d -m 755 $(addprefix $(DESTDIR),$(BINDIR) $(LIBEXECDIR) $(MANDIR) $(DOCDIR) $(BASHDIR) $(ZSHDIR) $(FISHDIR) $(UNITDIR))
	install -m 755 $(TARGET)/package/incusbox-run $(DESTDIR)$(BINDIR)/incusbox-run
	install -m 755 $(TARGET)/package/incusbox $(DESTDIR)$(BINDIR)/incusbox
	for link in $(LINKS); do ln -sf incusbox $(DESTDIR)$(BINDIR)/$$link; done
	install -m 755 $(TARGET)/package/incusbox-agent $(DESTDIR)$(LIBEXECDIR)/incusbox-agent
	install -m 644 $(addprefix $(TARGET)/package/man/,$(PAGES)) $(DESTDIR)$(MANDIR)
	install -m 644 $(addprefix $(TARGET)/package/bash/,incusbox-run incusbox) $(DESTDIR)$(BASHDIR)
	@# bash looks for a file of the command's name, zsh into the first line of each.
	for link in $(LINKS); do ln -sf incusbox $(DESTDIR)$(BASHDIR)/$$link; done
	install -m 644 $(addprefix $(TARGET)/package/zsh/,_incusbox-run _incusbox) $(DESTDIR)$(ZSHDIR)
	install -m 644 $(patsubst %,$(TARGET)/package/fish/%.fish,incusbox-run incusbox $(LINKS)) $(DESTDIR)$(FISHDIR)
	for unit in $(UNITS); do sed 's|@BINDIR@|$(BINDIR)|' systemd-user/$$unit >$(DESTDIR)$(UNITDIR)/$$unit; done
	chmod 644 $(addprefix $(DESTDIR)$(UNITDIR)/,$(UNITS))
	@# They are there for every user from the next login on.
	install -d -m 755 $(addprefix $(DESTDIR)$(UNITDIR)/,$(dir $(WANTED)))
	for unit in $(WANTED); do ln -sf ../$${unit##*/} $(DESTDIR)$(UNITDIR)/$$unit; done
	install -m 644 LICENSE-MIT LICENSE-APACHE README.md CHANGELOG.md $(DESTDIR)$(DOCDIR)

uninstall:
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	-rmdir $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(DOCDIR) $(addprefix $(DESTDIR)$(UNITDIR)/,$(dir $(WANTED)))

lint: build
	tests/checks/all

unit:
	$(CARGO) test --locked --lib $(DEVFEATURES)

test demo integration kde bench:
	tests/run $@

fuzz:
	tests/with-toolchain fuzz/run $(FUZZ_SECONDS)

clean:
	$(CARGO) clean
