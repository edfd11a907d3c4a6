"""The table of a weight file's tensors, whatever its format, and the reading of tensors by it.

Knows which reader serves which file name. Neither reader runs or builds anything that a file names.
"""

from collections.abc import Callable, Collection, Mapping

from amdet_hub.encoders.pickle_table import read_pickle_table
from amdet_hub.encoders.safetensors_header import read_header
from amdet_hub.records import RepoSource, TensorInfo
from amdet_hub.weight_formats import weight_format


def read_table(
    source: RepoSource, path: str, placed: Callable[[Collection[str]], Collection[str]] = lambda names: ()
) -> Mapping[str, TensorInfo]:
    """Name -> `TensorInfo` of every tensor in a listed safetensors file or pickled checkpoint.

    Of a pickled one, only the tensors that `placed` picks have places that can be read from.

    Raises:
        BadRepository: the file is not listed, is malformed, or holds what is not read.
        HubError: it could not be read.
    """
    pickled = weight_format(path, 0) == "pickle"
    return read_pickle_table(source, path, placed) if pickled else read_header(source, path)
