"""Records: a result together with what is known about it, as bytes, and as the data of states.

The lower half of `mainspring.results`, which exports what users need of it: the run store reads descriptions of
results from its rows, and result stores keep some of theirs in the run store.

``record``     `ResultRecord`, a value and what is known about it; `ResultRecordMetadata`, the latter alone
``layout``     what a record looks like in a file or row
``locations``  from a path, an address or a storage key to a file system
"""

from mainspring.records.record import ResultRecord, ResultRecordMetadata

__all__ = ["ResultRecord", "ResultRecordMetadata"]
