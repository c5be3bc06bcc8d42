"""Builds the native part (every C file of the package, in one library without Python's own headers), and takes the
recipes along.
"""

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


setup(
    cmdclass={"build_py": WithRecipes},
    ext_modules=[
        Extension(
            "gristmill._native",
            sorted(map(str, Path("src/gristmill").rglob("*.c"))),
            depends=sorted(map(str, Path("src/gristmill").rglob("*.h"))),
            extra_compile_args=["-O3", "-std=c11", "-Wall", "-Wextra", "-Wno-psabi"],
        )
    ],
)
