"""Builds the native part (every C file of the package, in one library without Python's own headers), and takes the
recipes along.
"""

from hashlib import sha256
from pathlib import Path
from shutil import copytree

from setuptools import Extension, setup
from setuptools.command.build_py import build_py


class WithRecipes(build_py):
    """Copies `recipes/` into the package that is built; an editable install reads them where they are."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if not self.editable_mode:
            copytree("recipes", Path(self.build_lib, "gristmill", "recipes"), dirs_exist_ok=True)


C_FILES = sorted(Path("src/gristmill").rglob("*.[ch]"))
# so that a library which was built from other sources is known as one (native.py)
DIGEST = sha256(b"".join(path.read_bytes() for path in C_FILES)).hexdigest()

setup(
    cmdclass={"build_py": WithRecipes},
    ext_modules=[
        Extension(
            "gristmill._native",
            [str(path) for path in C_FILES if path.suffix == ".c"],
            depends=[str(path) for path in C_FILES if path.suffix == ".h"],
            define_macros=[("GM_SOURCES", f'"{DIGEST}"')],
            extra_compile_args=["-O3", "-std=c11", "-Wall", "-Wextra", "-Wno-psabi"],
        )
    ],
)
