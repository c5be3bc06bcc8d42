"""Builds the native part: every C file of the package, in one library without Python's own headers."""

from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "gristmill._native",
            sorted(glob("src/gristmill/*/*.c")),
            depends=sorted(glob("src/gristmill/*/*.h")),
            extra_compile_args=["-O3", "-std=c11", "-Wall", "-Wextra", "-Wno-psabi"],
        )
    ]
)
