"""The known datasets: files, sizes, hashes, mirrors, class names.

Every dataset has the same four file names, so each has a folder of its own in the cache.
Hashes and sizes of Fashion-MNIST and KMNIST are those that TensorFlow Datasets pins.
"""

from dataclasses import dataclass

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"

#: Split name -> (image file, label file).
SPLIT_FILES = {"train": (TRAIN_IMAGES, TRAIN_LABELS), "test": (TEST_IMAGES, TEST_LABELS)}


@dataclass(frozen=True)
class DataFile:
    """One IDX file, as a mirror serves it and as it is unpacked.

    Attributes
    ----------
    name : canonical name without ``.gz``.
    gz_bytes, gz_sha256 : size and SHA-256 (hex) of the ``.gz`` file.
    raw_bytes : size of the unpacked IDX file.
    raw_sha256 : SHA-256 of the unpacked file, or None where nobody has published it.
    """

    name: str
    gz_bytes: int
    gz_sha256: str
    raw_bytes: int
    raw_sha256: str | None = None

    @property
    def gz_name(self) -> str:
        """The name on the mirrors."""
        return self.name + ".gz"


@dataclass(frozen=True)
class Dataset:
    """A dataset: its files, the base URLs that serve them (each ends in ``/``), its class names."""

    name: str
    files: tuple[DataFile, ...]
    mirrors: tuple[str, ...]
    class_names: tuple[str, ...]


_RAW_BYTES = {TRAIN_IMAGES: 47040016, TRAIN_LABELS: 60008, TEST_IMAGES: 7840016, TEST_LABELS: 10008}
_DIGITS = tuple("0123456789")

MNIST = Dataset(
    "mnist",
    (
        DataFile(
            TRAIN_IMAGES,
            9912422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            47040016,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        DataFile(
            TRAIN_LABELS,
            28881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            60008,
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        DataFile(
            TEST_IMAGES,
            1648877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            7840016,
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        DataFile(
            TEST_LABELS,
            4542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            10008,
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://azureopendatastorage.blob.core.windows.net/mnist/",
    ),
    _DIGITS,
)

FASHION_MNIST = Dataset(
    "fashion-mnist",
    (
        DataFile(
            TRAIN_IMAGES,
            26421880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            _RAW_BYTES[TRAIN_IMAGES],
        ),
        DataFile(
            TRAIN_LABELS,
            29515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            _RAW_BYTES[TRAIN_LABELS],
        ),
        DataFile(
            TEST_IMAGES,
            4422102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            _RAW_BYTES[TEST_IMAGES],
        ),
        DataFile(
            TEST_LABELS,
            5148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            _RAW_BYTES[TEST_LABELS],
        ),
    ),
    (
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        # Plain http: the pinned hash is what makes it safe.
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
)

KMNIST = Dataset(
    "kmnist",
    (
        DataFile(
            TRAIN_IMAGES,
            18165135,
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            _RAW_BYTES[TRAIN_IMAGES],
        ),
        DataFile(
            TRAIN_LABELS,
            29497,
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            _RAW_BYTES[TRAIN_LABELS],
        ),
        DataFile(
            TEST_IMAGES,
            3041136,
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            _RAW_BYTES[TEST_IMAGES],
        ),
        DataFile(
            TEST_LABELS,
            5120,
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            _RAW_BYTES[TEST_LABELS],
        ),
    ),
    ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
)

#: Built into the package: rows 0, 6, 12, ... of MNIST's training file and 0, 5, 10, ... of its test file.
MNIST_SAMPLE = Dataset(
    "mnist-sample",
    (
        DataFile(
            TRAIN_IMAGES,
            1565731,
            "0847119ea48d746b5be423e4f53dda06b5fdef7247a8ab4f628b4d0c7c88d427",
            7840016,
            "438ba099335a695db401b4cc1a9ebb5e26f3f6800536cda63de250fa022053bd",
        ),
        DataFile(
            TRAIN_LABELS,
            5094,
            "251abe65a11385dd9d10a17c2fb40a21f339b89b6955c15bb18297e16b8c5094",
            10008,
            "cdc933926617e78fa735e9296757e93f869734837ddb53260df98126675ca7c4",
        ),
        DataFile(
            TEST_IMAGES,
            320039,
            "21975b872a7f02dcad2075e764a44f64c147020929d92cd0fb8da555a730017a",
            1568016,
            "544b11e980491b35ea0a29d267be603798a522d267bd875eefdf185f2a90b4ed",
        ),
        DataFile(
            TEST_LABELS,
            1015,
            "6fb827417518d943611b31c7b601f2180323466786e2fc4cc87d2705a9af3fa7",
            2008,
            "00c8ee896b56b1f141feedeefecd0ec606a7715b411eb44be7e1b1decd17e3fd",
        ),
    ),
    (),
    _DIGITS,
)

#: Every dataset by name; those with no mirrors are built in.
DATASETS = {dataset.name: dataset for dataset in (MNIST, FASHION_MNIST, KMNIST, MNIST_SAMPLE)}
