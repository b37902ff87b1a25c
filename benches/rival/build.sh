#!/bin/sh
# Builds the rival tools of llama.cpp (llama-completion, llama-speculative-simple)
# from the source distribution of the Python package llama-cpp-python, and prints
# the directory they are in. Done once: a second call only prints it.
#
#   build.sh [DIR]      DIR: where to build (default: the user's cache)
#   JOBS=4 build.sh     compile with 4 jobs (default 2; about 5 minutes on 2 cores)
set -eu

version=0.3.36
dir=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/nmos/rival}
source=$dir/llama_cpp_python-$version/vendor/llama.cpp
bin=$dir/build-$version/bin

if [ -x "$bin/llama-completion" ] && [ -x "$bin/llama-speculative-simple" ]; then
    echo "$bin"
    exit 0
fi

for tool in python3 cmake c++ tar; do
    command -v "$tool" >/dev/null || { echo "build.sh: $tool is needed to build the rivals" >&2; exit 1; }
done

mkdir -p "$dir"
if [ ! -f "$source/CMakeLists.txt" ]; then
    echo "build.sh: fetching llama-cpp-python $version" >&2
    python3 -m pip download --quiet --no-deps --no-binary llama-cpp-python \
        --dest "$dir" "llama-cpp-python==$version" >&2
    tar -xzf "$dir/llama_cpp_python-$version.tar.gz" -C "$dir"
fi

echo "build.sh: building llama.cpp's tools in $dir (about 5 minutes on 2 cores)" >&2
# Native: the rival gets every instruction this CPU has. No shared libraries, so
# that the binaries need nothing else.
cmake -S "$source" -B "$dir/build-$version" \
    -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DGGML_CUDA=OFF -DBUILD_SHARED_LIBS=OFF \
    -DCMAKE_C_FLAGS=-w -DCMAKE_CXX_FLAGS=-w \
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF >&2
nice -n 10 cmake --build "$dir/build-$version" --parallel "${JOBS:-2}" \
    --target llama-completion llama-speculative-simple >&2
echo "$bin"
