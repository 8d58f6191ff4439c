# SPDX-License-Identifier: Apache-2.0
"""Packaging: ``pip install -e ".[mm,faiss-cpu]"``."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PACKAGE = 'mmreid_gcl'
#: What mim and mmengine look for in the package's folder ``.mim``.
MIM = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Puts configs and tools into the package as mim expects them.

    An editable installation has links in their place.
    """

    def run(self) -> None:
        """Build the package, then its ``.mim``."""
        built = Path(self.build_lib, PACKAGE)
        if self.editable_mode:
            super().run()
            self._link(ROOT / PACKAGE / '.mim')
        else:
            # an earlier build may have left what is no longer in the package
            shutil.rmtree(built, ignore_errors=True)
            super().run()
            self._copy(built / '.mim')

    def find_data_files(self, package: str, src_dir: str) -> list[str]:
        """The package's data files, without stubs, which Gradio writes."""
        files = super().find_data_files(package, src_dir)
        return [file for file in files if not file.endswith('.pyi')]

    def _copy(self, target: Path) -> None:
        for file in self._mim_files():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(str(ROOT / file), str(target / file))

    def _link(self, target: Path) -> None:
        target.mkdir(exist_ok=True)
        for name in MIM:
            link = target / name
            if link.is_symlink():
                link.unlink()
            try:
                link.symlink_to(Path('../..', name))
            except OSError as error:  # no links here; the command mmreid needs none
                self.warn(f'{link}: {error}. mim will not find {name}.')

    def _mim_files(self) -> list[Path]:
        """The files of ``.mim``, relative to the checkout."""
        files = [
            file
            for name in MIM
            for file in [ROOT / name, *sorted((ROOT / name).rglob('*'))]
        ]
        kinds = {'.py', '.sh', '.md', '.yml'}
        return [f.relative_to(ROOT) for f in files if f.is_file() and f.suffix in kinds]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """All files that a build writes."""
        target = Path(self.build_lib, PACKAGE, '.mim')
        mim = [] if self.editable_mode else [str(target / f) for f in self._mim_files()]
        return super().get_outputs(include_bytecode) + mim


def requirements(name: str) -> list[str]:
    """The requirement lines of ``requirements/<name>.txt``."""
    text = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8')
    lines = map(str.strip, text.splitlines())
    return [line for line in lines if line and line[0] != '#']


version = re.search(
    r"__version__ = '(.+)'",
    (ROOT / PACKAGE / 'version.py').read_text(encoding='utf-8'),
).group(1)

setup(
    name=PACKAGE,
    version=version,
    description='Unsupervised person re-identification with graph correlation '
    'learning and selective contrastive learning, for OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license_expression='Apache-2.0',
    license_files=['LICENSE'],
    keywords=['person re-identification', 'unsupervised learning', 'OpenMMLab'],
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    python_requires='>=3.10',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    include_package_data=False,
    entry_points={'console_scripts': ['mmreid = mmreid_gcl.cli.console:main']},
    cmdclass={'build_py': BuildWithMim},
    install_requires=requirements('runtime'),
    extras_require={
        'mm': requirements('mminstall'),
        'faiss-cpu': ['faiss-cpu>=1.8'],
        'faiss-gpu': ['faiss-gpu>=1.14'],
        'optional': requirements('optional'),
        'docs': requirements('docs'),
        'tests': requirements('tests'),
    },
)
