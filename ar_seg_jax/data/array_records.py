"""Random access to ArrayRecord files that costs the same however many records a file has."""

from typing import SupportsIndex

import grain


class ArrayRecords(grain.sources.ArrayRecordDataSource):
    """Records of files one after another, for any number of threads.

    ArrayRecord's own data source asks its readers for lists of records, before each of which they copy the index of their file, 8
    bytes a record: 0.35 ms of 160,000 records. A range of one record is read without it, in 5 microseconds.
    """

    def __getitem__(self, record_key: SupportsIndex) -> bytes:
        number, place = self._reader_idx_and_position(record_key)
        self._ensure_reader_exists(number)
        return self._readers[number].read(place, place + 1)[0]
