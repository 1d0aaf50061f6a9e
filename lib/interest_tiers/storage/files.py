"""Read and write files of any file system that Hadoop knows: reports, Parquet for other readers, claims. No tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession

#: Small row groups: other readers than Spark hold one row group in memory.
ROW_GROUP_BYTES = 16 * 1024**2


class Files:
    """The file systems of a Spark session. Paths are texts such as ``build/demo`` or ``s3a://bucket/tiers``."""

    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark

    def qualified(self, path: str) -> str:
        """Return the absolute path with its scheme."""
        target, system = self._opened(path)
        return str(system.makeQualified(target).toString())

    def is_file(self, path: str) -> bool:
        """Whether a file, and no folder, has this path."""
        target, system = self._opened(path)
        return bool(system.exists(target)) and not system.getFileStatus(target).isDirectory()

    def list(self, path: str) -> list[str]:
        """List the names in a folder, sorted; a folder that does not exist has none."""
        target, system = self._opened(path)
        if not system.exists(target):
            return []
        return sorted(str(entry.getPath().getName()) for entry in system.listStatus(target))

    def delete(self, path: str) -> None:
        """Delete a file or a folder with all that it holds, if it exists."""
        target, system = self._opened(path)
        system.delete(target, True)

    def last_modified(self, path: str) -> datetime | None:
        """Return when the newest file in a folder was written, UTC; None when the folder holds no file.

        Times of folders are not used: object stores have none.
        """
        target, system = self._opened(path)
        if not system.exists(target):
            return None
        newest, entries = 0, system.listFiles(target, True)
        while entries.hasNext():
            newest = max(newest, entries.next().getModificationTime())
        return datetime.fromtimestamp(newest / 1000, UTC) if newest else None

    def read_text(self, path: str) -> str | None:
        """Read a text file in UTF-8; None when it does not exist."""
        target, system = self._opened(path)
        if not system.exists(target):
            return None
        jvm: Any = self.spark._jvm
        stream = system.open(target)
        try:
            return str(jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
        finally:
            stream.close()

    def write_text(self, path: str, text: str, overwrite: bool = True) -> None:
        """Write a text file in UTF-8. Without overwrite, an existing file raises a Py4JJavaError."""
        target, system = self._opened(path)
        stream = system.create(target, overwrite)
        try:
            stream.write(bytearray(text.encode("utf-8")))
        finally:
            stream.close()

    def rename(self, source: str, target: str) -> bool:
        """Rename a file; returns whether it was renamed."""
        (old, system), (new, _) = self._opened(source), self._opened(target)
        return bool(system.rename(old, new))

    def write_parquet(self, path: str, rows: DataFrame, partition_by: str | None = None) -> None:
        """Write rows to a Parquet folder for readers other than Spark."""
        writer = rows.write.mode("overwrite").option("parquet.block.size", ROW_GROUP_BYTES)
        (writer if partition_by is None else writer.partitionBy(partition_by)).parquet(path)

    def _opened(self, path: str) -> tuple[Any, Any]:
        """Return Hadoop's path, and the file system that holds it."""
        jvm: Any = self.spark._jvm
        target = jvm.org.apache.hadoop.fs.Path(path)
        return target, target.getFileSystem(self.spark._jsparkSession.sessionState().newHadoopConf())
