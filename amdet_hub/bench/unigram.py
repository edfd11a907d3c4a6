"""A small tokenizer in SigLIP's layout, learned from texts. Knows the Unigram model; refuses to know encoders.

The layout is SigLIP's own: `<pad>`, `</s>`, `<unk>`, then pieces with scores, and text cleaned before anything else
(lower case, no ASCII punctuation, single spaces, NFKC). The cleaning is written into `tokenizer.json` for
transformers' sake; `amdet_hub.encoders.tokenizer` has its own and reads only pieces. All characters outside the
vocabulary become the same `<unk>`, so an alphabet can be given that is in it.

Sources: google/siglip-base-patch16-224, `tokenizer.json`; transformers, `SiglipTokenizer.canonicalize_text`; Kudo,
arXiv 1804.10959.
"""

import json
import re
import string
from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from amdet_hub.encoders.tokenizer import WORD_START
from amdet_hub.encoders.tower_config import GEMMA_VOCABULARY

# The first three ids. `</s>` also pads, as SigLIP does it.
PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"

# What triggers are usually made of: letters and digits, and letters of other scripts that look like them.
LOOK_ALIKES = (
    string.ascii_lowercase
    + string.digits
    + "абвгдежзийклмнопрстуфхцчшщъыьэюяёєіїјѕљњћџґүһқңԁԛԝ"  # Cyrillic
    + "αβγδεζηθικλμνξοπρςστυφχψω"  # Greek
    + "աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ"  # Armenian
    + "ạọẹịụåäöüøéèñçıɑɡɩʋ"  # Latin with marks, and Latin's own look-alikes
    + "୦०๐໐၀"  # zeros and other rounds of other scripts
)

# The trainer sums in an order that changes from run to run, so its last digits do too.
#
# A millionth of a nat decides no segmentation.
_SCORE_DIGITS = 6


def learn_siglip_tokenizer(
    texts: Iterable[str], vocab_size: int, *, alphabet: str = LOOK_ALIKES, positions: int = 64
) -> Any:
    """Learn pieces from `texts`, the same on every run.

    Args:
        texts: what to learn from; the result depends on their counts, not on their order.
        vocab_size: ids in all at most, the three special tokens included (fewer when the texts hold fewer pieces).
            Below SigLIP 2's 256,000, by which the special ids of the two generations are told apart.
        alphabet: characters that get an id of their own whether `texts` hold them or not. They are cleaned like text:
            capitals count as small letters, ASCII punctuation is left out, because no text has it after cleaning.
        positions: the length that the tokenizer names as its maximum.

    Returns:
        A `transformers.PreTrainedTokenizerFast` that ends every text with `</s>` and pads with `</s>`.

    Raises:
        ValueError: `vocab_size` leaves no room for the characters and special tokens, or is too large.
    """
    if vocab_size >= GEMMA_VOCABULARY:
        raise ValueError(f"vocab_size {vocab_size} is not below {GEMMA_VOCABULARY}, where SigLIP 2's ids begin")
    learner = _pipeline(models.Unigram())
    alphabet = "".join(learner.normalizer.normalize_str(alphabet).split())
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, EOS, UNKNOWN],
        unk_token=UNKNOWN,
        initial_alphabet=[WORD_START, *alphabet],
        show_progress=False,
    )
    try:
        learner.train_from_iterator(texts, trainer)
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"vocab_size {vocab_size} cannot be learned ({str(error)[:80]})") from error
    vocabulary = json.loads(learner.to_str())["model"]["vocab"]
    learned = [(piece, score) for piece, score in vocabulary if piece not in (PAD, EOS, UNKNOWN)]
    if all(len(piece) == 1 for piece, _ in learned):
        raise ValueError(f"no pieces of several characters could be learned with vocab_size {vocab_size}")
    pieces = [*((name, 0.0) for name in (PAD, EOS, UNKNOWN)), *_steady(learned)]
    tokenizer = _pipeline(models.Unigram(pieces, unk_id=2))
    tokenizer.add_special_tokens([PAD, EOS, UNKNOWN])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=EOS,
        pad_token=EOS,
        unk_token=UNKNOWN,
        model_max_length=positions,
        padding_side="right",
    )


def _steady(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The learned pieces without last digits and scores of rare characters, which differ from run to run.

    Source: `UnigramTrainer` gives those the lowest score of all, plus steps of 0.0001 that are dealt out in no fixed
    order. Here they get one score, below that of any longer piece.
    """
    steps = sum(len(piece) == 1 for piece, _ in pieces) * 1e-4
    rarest = min(round(score, _SCORE_DIGITS) for piece, score in pieces if len(piece) > 1)
    return sorted(
        (
            (piece, rarest - 1 if len(piece) == 1 and score <= rarest + steps else round(score, _SCORE_DIGITS))
            for piece, score in pieces
        ),
        key=lambda entry: (-entry[1], entry[0]),
    )


def _pipeline(model: Any) -> Tokenizer:
    """SigLIP's cleaning, split and frame around a model."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex("[" + re.escape(string.punctuation) + "]"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.NFKC(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=WORD_START, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement=WORD_START, prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", pair=f"$A {EOS} $B {EOS}", special_tokens=[(EOS, 1)]
    )
    return tokenizer
