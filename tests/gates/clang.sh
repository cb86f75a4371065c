#!/bin/bash
# SPDX-License-Identifier: MIT
# Proves that the tree builds without a warning with the other compiler: clang, or gcc where CC is
# clang.
# Marks: slow
set -eu
case ${CC:-gcc} in
*clang*) other=gcc ;;
*) other=clang ;;
esac
make -k -j2 BUILD="$BUILD-$other" CC=$other WERROR=1 all
