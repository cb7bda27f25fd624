"""Installation of `fingerprint`."""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "fingerprint" / "__init__.py").read_text()).group(1)

TEST = [
    "pytest>=8",
    "pytest-xdist>=3.5",
    "hypothesis>=6.100",
    "ruff>=0.6",
    "nbclient>=0.10",
    "nbformat>=5.10",
    "ipykernel>=6.29",
    "beartype>=0.18",
    "onnxruntime>=1.18",
    "scikit-image>=0.24",
]

setuptools.setup(
    name="fingerprint",
    version=VERSION,
    description="Tell who drives a talking-head video, from facial motion alone.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=setuptools.find_packages(include=["fingerprint", "fingerprint.*", "data_builders", "data_builders.*"]),
    package_data={
        "fingerprint": ["landmarks/tables/*.json", "data/*.npz", "reports/*.css"],
        "data_builders": ["*/*.md", "*/*.bib", "*/*.txt"],
    },
    install_requires=[
        "absl-py>=2.1",
        "array-record>=0.5",
        "av>=14",
        "flax>=0.10",
        "grain>=0.2.10",
        "importlib-resources>=6",  # tensorflow-datasets needs it and does not say so
        "jax>=0.10",
        "jaxtyping>=0.2.36",
        "jraph>=0.0.6.dev0",
        "matplotlib>=3.8",
        "mediapipe>=0.10.30,<0.10.34",  # later releases look up a telemetry host, earlier ones force NumPy 1
        "ml-collections>=1.0",
        "numpy>=2.0",
        "optax>=0.2.4",
        "orbax-checkpoint>=0.11",
        "pyarrow>=16",
        "rich>=13.7",
        "scipy>=1.11",
        "tensorboardX>=2.6.2",
        "tensorflow-datasets>=4.9.9",
        "tqdm>=4.66",
        "typer>=0.15",
    ],
    entry_points={"console_scripts": ["fingerprint = fingerprint.app.cli:main"]},
    extras_require={
        "tpu": ["jax[tpu]>=0.10"],
        "cuda": ["jax[cuda13]>=0.10"],
        "tfds": [  # TFDS' own command line and test case, which import more than TFDS requires
            "tensorflow-cpu>=2.18; platform_machine == 'x86_64' or platform_machine == 'AMD64'",
            "tensorflow>=2.18; platform_machine != 'x86_64' and platform_machine != 'AMD64'",
            "apache-beam>=2.65",
            "mlcroissant>=1.0.9",
            "dill>=0.3.8",
        ],
        "beam": ["apache-beam>=2.65"],
        "quality": ["onnxruntime>=1.18"],
        "benchmark": [
            "torch>=2.6",
            "torch-geometric>=2.6",
            "torchmetrics>=1.5",
            "scikit-image>=0.24",
            "scikit-learn>=1.5",
        ],
        "test": TEST,
    },
)
