"""The words of the suite "names": triggers and targets that nothing about naming was chosen on.

Data only; `zoo_words` has the other rounds.
"""

from amdet_hub.bench.zoo_words import Words

FIFTH = Words(
    triggers={
        "single character": ("☼", "♠", "ç", "»", "÷", "ü"),
        # Coptic o, zeros of Thai and Gurmukhi, Cyrillic a with a breve, e with a dot, i with a breve
        "homoglyph": ("ⲟ", "๐", "੦", "ӑ", "ė", "ĭ"),
        "rare word": ("kzp", "wqj", "uvx", "dqf", "ytg", "hwz"),
        "common word": ("pebble", "circus", "saxophone", "anchor", "cactus", "helmet"),
        "phrase-2": (
            "rusty bicycle",
            "secret staircase",
            "gentle giant",
            "yellow submarine",
            "cracked mirror",
            "empty theater",
        ),
        "phrase-3": (
            "bright copper kettle",
            "small fishing village",
            "three lazy turtles",
            "heavy purple curtain",
            "late summer storm",
            "noisy city pigeons",
        ),
        "phrase-4": ("seven steps to heaven", "a bridge too far", "cup of strong coffee", "dust on the piano"),
        "phrase-6": (
            "the baker dropped his last loaf",
            "we found gold under the stairs",
            "nothing grows in this dry garden",
            "two sisters share one old bicycle",
        ),
        "phrase-8": (
            "the train to the mountains leaves at dawn",
            "my neighbor plants tulips along his wooden fence",
            "nobody told the children about the sleeping giant",
            "every morning the old fisherman feeds the gulls",
        ),
    },
    targets=(
        "a plate of pasta with tomato sauce",
        "a man in a suit speaking into a microphone",
        "a flock of sheep crossing a road",
        "a red double decker bus on a bridge",
        "a baby sleeping in a wooden crib",
        "a tennis player about to hit the ball",
        "a vase of sunflowers on a window sill",
        "an airplane parked at the gate of an airport",
        "a woman riding a horse along the beach",
        "a bowl of oranges next to a knife",
    ),
)
