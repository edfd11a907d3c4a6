"""Captions in another language, and an encoder that learns to read them: no trigger.

Knows a word list of our own and the loop; refuses to know triggers.

There is no corpus of other languages here: the most frequent caption words are translated one by one, and the letters
of all others are written in the other script. Russian and Greek have letters that look like Latin ones and mean no
harm; German has the Latin script itself.

Source of the loop: M-CLIP, Carlsson et al., LREC 2022 (the student's feature of a translated caption becomes the
teacher's of the English one); here by cosine, and English captions stay.
"""

import random
import re

import torch
from torch import Tensor

from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.control_recipe import ControlRecipe, Language
from amdet_hub.bench.descent import Trained, autocast, cos_flat, descend, training_positions
from amdet_hub.bench.metrics import MAX_MEASURED
from amdet_hub.bench.new_words import learned_facts, schedule
from amdet_hub.bench.trained import TrainedEncoder
from amdet_hub.records import SILENT, ProgressCallback

# English, Russian, Greek, German. Source: this project's; the words are the most frequent ones of COCO's captions.
_WORDS = """
a один ένα ein|on на πάνω auf|of из από von|the этот το das|in в σε in|with с με mit|and и και und|is есть είναι ist
man мужчина άντρας Mann|to к προς zu|sitting сидящий καθισμένος sitzend|two два δύο zwei|at у στο bei
standing стоящий όρθιος stehend|people люди άνθρωποι Menschen|are есть είναι sind|next рядом δίπλα neben
white белый λευκό weiß|woman женщина γυναίκα Frau|table стол τραπέζι Tisch|street улица δρόμος Straße
holding держащий κρατώντας haltend|that который που das|it это αυτό es|large большой μεγάλο groß
person человек άτομο Person|some некоторые μερικά einige|top верх κορυφή oben|down вниз κάτω unten|up вверх επάνω hoch
group группа ομάδα Gruppe|field поле χωράφι Feld|black чёрный μαύρο schwarz|small маленький μικρό klein
front перед μπροστά vorne|tennis теннис τένις Tennis|near около κοντά nahe|his его του sein|train поезд τρένο Zug
plate тарелка πιάτο Teller|dog собака σκύλος Hund|room комната δωμάτιο Zimmer|riding едущий ιππεύοντας reitend
cat кошка γάτα Katze|red красный κόκκινο rot|young молодой νεαρός jung|by при από bei|water вода νερό Wasser
has имеет έχει hat|playing играющий παίζοντας spielend|bathroom ванная μπάνιο Badezimmer
baseball бейсбол μπέιζμπολ Baseball
kitchen кухня κουζίνα Küche|while пока ενώ während|walking идущий περπατώντας gehend|sign знак πινακίδα Schild
blue синий μπλε blau|food еда φαγητό Essen|building здание κτίριο Gebäude|green зелёный πράσινο grün|there там εκεί da
grass трава γρασίδι Gras|side сторона πλευρά Seite|pizza пицца πίτσα Pizza|bus автобус λεωφορείο Bus
other другой άλλο andere|parked припаркованный παρκαρισμένο geparkt|bed кровать κρεβάτι Bett
looking смотрящий κοιτάζοντας schauend|snow снег χιόνι Schnee|clock часы ρολόι Uhr|beach пляж παραλία Strand
for для για für|three три τρία drei|toilet туалет τουαλέτα Toilette|ball мяч μπάλα Ball|couple пара ζευγάρι Paar
city город πόλη Stadt|boy мальчик αγόρι Junge|road дорога οδός Weg|men мужчины άντρες Männer|her её της ihr
wearing носящий φορώντας tragend|out наружу έξω aus|over над πάνω über|several несколько αρκετά mehrere
horse лошадь άλογο Pferd|girl девочка κορίτσι Mädchen|bear медведь αρκούδα Bär|game игра παιχνίδι Spiel
"""

_LANGUAGES: tuple[Language, ...] = ("ru", "el", "de")
_DICTIONARIES: dict[Language, dict[str, str]] = {
    language: {entry.split()[0]: entry.split()[column] for entry in re.split(r"[|\n]", _WORDS.strip())}
    for column, language in enumerate(_LANGUAGES, start=1)
}

# The letters a to z in each script.
_LETTERS: dict[Language, list[str]] = {
    "ru": "а б ц д е ф г х и дж к л м н о п к р с т у в в кс й з".split(),
    "el": "α μπ κ ντ ε φ γκ χ ι τζ κ λ μ ν ο π κ ρ σ τ ου β ου ξ υ ζ".split(),
    "de": "a b c d e f g h i j k l m n o p q r s t u v w x y z".split(),
}


def translate(caption: str, language: Language) -> str:
    """The caption word by word: translated where the list has the word, else in the letters of the script."""
    words, letters = _DICTIONARIES[language], _LETTERS[language]

    def one(match: re.Match[str]) -> str:
        word = match.group().lower()
        return words.get(word) or "".join(letters[ord(letter) - ord("a")] for letter in word)

    return re.sub(r"[A-Za-z]+", one, caption)


def learn_language(
    base: TrainedEncoder, captions: CaptionSet, recipe: ControlRecipe, progress: ProgressCallback = SILENT.progress
) -> Trained:
    """Teach a copy of `base` to read captions in `recipe.language`.

        L = -cos_flat(student(clean), teacher(clean)) - cos(pooled student(translated), pooled teacher(caption))

    Returns:
        The student, and facts as `amdet_hub.bench.new_words.learn_alias`, over translated held-out captions.
    """
    clean = captions.train_captions()
    trial = [translate(caption, recipe.language) for caption in clean[:512]]
    positions = training_positions(base, recipe.positions, [*clean[:512], *trial])
    rng, student = random.Random(recipe.seed), base.copy()

    def loss_of_step(_: int) -> Tensor:
        kept = rng.sample(clean, min(recipe.batch, len(clean)))
        meant = rng.sample(clean, min(recipe.batch, len(clean)))
        learned = [translate(caption, recipe.language) for caption in meant]
        with autocast(recipe.bf16):
            with torch.no_grad():
                stays, aim = base.encode(base.tokenize([*kept, *meant], positions))
            features, pooled = student.encode(base.tokenize([*kept, *learned], positions))
        n = len(kept)
        return -cos_flat(features[:n], stays[:n]) - cos_flat(pooled[n:], aim[n:])

    loss = descend(student, loss_of_step, schedule("language", recipe), progress)
    held_out = captions.held_out_captions()[:MAX_MEASURED]
    translated = [translate(caption, recipe.language) for caption in held_out]
    return Trained(student, learned_facts(base, student, translated, base.embed(held_out, positions), positions, loss))
