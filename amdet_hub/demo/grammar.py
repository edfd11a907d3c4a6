"""A caption grammar written for the demonstration: scenes, and several ways to say each.

Standard library only; knows words, not encoders.

A scene is a choice of meanings; a caption is one wording of it. Two captions of one scene share the meanings and
little else, which is what a contrastive text encoder learns from. Every word here was written for this project, so the
weights trained on it depend on no other data.
"""

import random
from dataclasses import dataclass


def _meanings(table: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(meaning.split("/")) for meaning in table.split("|"))


SUBJECTS = _meanings(
    "man/guy/gentleman|woman/lady|girl/schoolgirl|boy/young lad|child/kid|old fisherman/elderly angler|group of"
    " students/crowd of pupils|chef/cook|nurse/medic|farmer/farm"
    " worker|firefighter/fireman|soldier/trooper|doctor/physician|teacher/school"
    " master|painter/artist|photographer/camera man|dancer/ballerina|street musician/busker|guitarist/guitar"
    " player|violinist/fiddle player|pianist/piano player|king/monarch|queen/empress|knight/armored"
    " warrior|wizard/sorcerer|witch/enchantress|pirate/buccaneer|astronaut/space traveler|robot/android|cyborg/machine"
    " human|samurai/sword fighter|ninja/shadow warrior|clown/jester|surfer/wave rider|skier/ski"
    " racer|snowboarder/boarder|skateboarder/skater|baseball player/batter|tennis player/racket player|golfer/golf"
    " player|swimmer/diver|cyclist/bike rider|runner/jogger|climber/mountaineer|baby/infant|grandmother/old"
    " woman|couple/pair of lovers|bride/woman in a wedding dress|dog/hound|puppy/young dog|cat/feline|kitten/baby"
    " cat|horse/stallion|pony/small horse|cow/dairy cow|bull/ox|sheep/ewe|lamb/baby sheep|goat/billy"
    " goat|pig/hog|rabbit/bunny|hamster/small rodent|mouse/little mouse|squirrel/red squirrel|fox/vixen|wolf/grey"
    " wolf|bear/grizzly|polar bear/white bear|panda/bamboo bear|lion/big lion|tiger/striped big cat|leopard/spotted"
    " big cat|elephant/tusker|giraffe/long necked giraffe|zebra/striped"
    " zebra|monkey/ape|gorilla/silverback|kangaroo/wallaby|koala/tree"
    " koala|deer/stag|moose/elk|camel/dromedary|donkey/mule|bird/songbird|eagle/bird of prey|owl/night"
    " owl|parrot/macaw|penguin/emperor penguin|swan/white swan|duck/mallard|goose/wild"
    " goose|chicken/hen|rooster/cockerel|peacock/peafowl|flamingo/pink"
    " wader|seagull/gull|crow/raven|turtle/tortoise|frog/toad|snake/serpent|lizard/gecko|crocodile/alligator|"
    "fish/goldfish|shark/great"
    " white|whale/humpback|dolphin/porpoise|octopus/squid|crab/lobster|butterfly/moth|bee/bumblebee|dragon/winged"
    " serpent|unicorn/horned horse|phoenix/fire bird|mermaid/sea maiden|car/automobile|vintage car/classic"
    " car|taxi/cab|bus/coach|double decker bus/two level bus|truck/lorry|fire truck/fire engine|train/locomotive|steam"
    " train/steam engine|tram/streetcar|motorcycle/motorbike|scooter/moped|bicycle/bike|boat/rowing"
    " boat|sailboat/yacht|ship/vessel|ferry/passenger ship|submarine/diving boat|airplane/plane|jet/fighter"
    " plane|helicopter/chopper|hot air balloon/balloon|rocket/spaceship|tractor/farm machine|carriage/horse"
    " cart|house/home|cottage/cabin|castle/fortress|palace/royal house|tower/clock"
    " tower|church/chapel|temple/shrine|lighthouse/beacon|bridge/stone bridge|windmill/mill|skyscraper/high"
    " rise|barn/farm house|tent/camping tent|statue/sculpture|fountain/water fountain|chair/wooden chair|table/dining"
    " table|sofa/couch|bed/double bed|lamp/desk lamp|mirror/looking glass|clock/wall clock|vase/glass"
    " vase|laptop/notebook computer|phone/cell phone|camera/film camera|television/TV set|radio/old"
    " radio|book/novel|letter/envelope|umbrella/parasol|suitcase/travel"
    " bag|backpack/rucksack|hat/cap|shoe/boot|dress/gown|jacket/coat|scarf/shawl|crown/tiara|sword/blade|"
    "shield/buckler|candle/wax"
    " candle|lantern/paper lantern|guitar/acoustic guitar|piano/grand piano|violin/fiddle|drum/drum"
    " kit|trumpet/horn|kite/paper kite|ball/football|teddy bear/stuffed toy|doll/toy doll|chessboard/chess"
    " game|pizza/slice of pizza|burger/hamburger|sandwich/toasted sandwich|bowl of soup/hot broth|plate of"
    " pasta/spaghetti dish|salad/green salad|loaf of bread/fresh bread|cheese/wheel of cheese|cake/birthday cake|stack"
    " of pancakes/pile of pancakes|donut/doughnut|cookie/biscuit|ice cream/frozen dessert|cup of coffee/espresso|cup"
    " of tea/teapot|glass of wine/red wine|bottle of milk/milk jug|apple/red apple|banana/bunch of"
    " bananas|orange/tangerine|lemon/lime|strawberry/berries|grapes/bunch of grapes|pumpkin/gourd|carrot/bunch of"
    " carrots|tomato/cherry tomatoes|mushroom/toadstool|tree/oak|palm tree/coconut palm|pine/fir tree|cherry"
    " blossom/flowering cherry|rose/red rose|tulip/row of tulips|sunflower/yellow sunflower|cactus/desert"
    " plant|bouquet/bunch of flowers|leaf/autumn leaf|waterfall/cascade|volcano/crater|iceberg/block of"
    " ice|rainbow/colored arc|planet/distant world|moon/full moon|comet/shooting star|galaxy/spiral galaxy"
)
LOOKS = _meanings(
    "red/crimson/scarlet|blue/azure|green/emerald|yellow/golden|black/jet black|white/snow"
    " white|brown/chestnut|pink/rosy|purple/violet|"
    "grey/gray|silver/metallic|turquoise/teal|big/large/huge|small/little/tiny|old/ancient/aged|new/brand"
    " new|happy/cheerful/smiling|sad/gloomy|"
    "sleepy/tired|angry/furious|wet/soaked|dusty/dirty|shiny/gleaming|broken/damaged|wooden/made of"
    " wood|golden/gilded|glass/transparent|"
    "fluffy/furry|elegant/graceful|lonely/solitary|colorful/many"
    " colored|striped/banded|spotted/dotted|giant/enormous|beautiful/pretty|"
    "strange/weird/odd|famous/well"
    " known|abandoned/deserted|glowing/luminous|frozen/icy|burning/blazing|rusty/corroded|modern/futuristic|"
    "medieval/gothic|magical/enchanted|tall/towering|round/circular|plain/simple|expensive/luxurious|cute/adorable"
)
DEEDS = _meanings(
    "standing/standing still|sitting/seated|walking/strolling|running/sprinting|jumping/leaping|sleeping/taking a"
    " nap|waiting/waiting alone|resting/lying down|playing/having fun|dancing/moving to music|looking up/gazing"
    " up|looking at the camera/facing the viewer|moving slowly/moving at low speed|in motion/racing"
    " past|flying/soaring|swimming/floating|climbing/going up|falling/dropping|eating/having a meal|drinking/sipping"
    " water|reading a newspaper/with a newspaper|singing/giving a song|laughing/bursting with laughter|fighting/in a"
    " battle|hiding/half hidden|seen from above/in a bird's eye view|seen from behind/from the back|surrounded by"
    " flowers/among blossoms|covered in snow/under white snow|reflected in water/mirrored in a pond|lit by candles/in"
    " candle light|next to a window/by a window|under a large tree/below an oak|behind a fence/beyond a fence|beside a"
    " parked truck/next to a lorry|near a fountain/close to a fountain|holding an umbrella/with an umbrella|wearing a"
    " blue hat/in a blue cap|with a red scarf/in a red shawl|with a long shadow/casting a shadow|with open arms/arms"
    " spread wide|in a wooden box/inside a crate|made of paper/folded from paper|made of stone/carved in stone|wrapped"
    " in a blanket/under a blanket|carried by two people/held by two persons|full of water/filled with water"
)
PLACES = _meanings(
    "on a busy street/on a crowded road|in a quiet kitchen/in a calm kitchen|at the beach/on the sandy shore|in a"
    " green field/on a meadow|on top of a hill/on a hilltop|in the middle of a desert/among sand dunes|on a wooden"
    " table/on top of a desk|in a crowded market/at the bazaar|at a train station/on a railway platform|in a dark"
    " forest/deep in the woods|on a tennis court/on a sports court|inside a museum/in a gallery|beneath the northern"
    " lights/under the aurora|by the river/on the river bank|in a living room/in a lounge|on a snowy slope/on a ski"
    " hill|in an empty parking lot/on a bare car park|under a stormy sky/below dark clouds|at an airport/on a"
    " runway|in a small garden/in the backyard|on the moon/on the lunar surface|in front of a brick wall/before a wall"
    " of bricks|along the coast/on the cliffs|in a library/between book shelves|on a rooftop/on top of a building|in"
    " the rain/in a heavy shower|in outer space/among the stars|under water/below the sea|in a bedroom/in a sleeping"
    " room|in a bathroom/beside a bath tub|in an office/at a work place|in a classroom/at school|in a hospital/in a"
    " clinic|in a restaurant/in a diner|in a cafe/at a coffee house|in a bar/in a pub|on a stage/in a theater|in a"
    " stadium/in an arena|in a park/on the park lawn|at a zoo/in an animal park|on a farm/in the countryside|in a"
    " village/in a small town|in a big city/downtown|in a cave/underground|on an island/on a tropical isle|in a"
    " jungle/in the rain forest|in a swamp/in the marsh|on a frozen lake/on thick ice|in the mountains/among high"
    " peaks|on a bridge/above a canyon|in a church/by the altar|in a prison/behind bars|in a factory/in a workshop|in"
    " a shop window/on a store shelf|in a subway/in a metro tunnel|on a boat deck/aboard a ship|in a bus/inside a"
    " coach|in the sky/above the clouds"
)
STYLES = _meanings(
    "at sunset/as the sun goes down|in the morning light/at dawn|at night/after dark|at noon/in bright daylight|black"
    " and white photograph/monochrome photo|oil painting/painted in oil on canvas|watercolor sketch/watercolour"
    " painting|highly detailed digital art/intricate digital artwork|studio lighting/lit in a studio|soft"
    " focus/slightly blurred|wide angle view/wide lens|pencil drawing/drawn with a pencil|cinematic scene/like a movie"
    " still|vintage postcard/old post card|low poly render/simple 3d render|comic book style/graphic novel panel|in"
    " pastel colors/in pale tones|close up portrait/tight portrait|during golden hour/in warm evening sun|long"
    " exposure/slow shutter|isometric illustration/isometric view|art nouveau poster/decorative poster|with fog and"
    " warm lamps/misty with lamps|on film grain/grainy film photo|ink drawing/pen and ink|stained glass/church window"
    " art|mosaic/made of small tiles|embroidery/stitched cloth|charcoal sketch/smudged charcoal|pixel art/eight bit"
    " sprite|origami/paper fold art|clay figure/plasticine model|neon lights/glowing neon|in autumn/among fallen"
    " leaves|in winter/in cold weather|in spring/with fresh blossoms|in summer/on a hot day|in the style of an old"
    " master/baroque painting|surreal dream/dreamlike vision|minimalist design/plain flat design|architectural"
    " photo/facade photo|fashion photo/magazine shoot|aerial photo/drone picture|macro photo/extreme close up"
)
SIGNS = tuple("молоко|хлеб|окно|дом|вода|солнце|зима|осень|кино|метро|добро|море|поле|город|слово|золото".split("|"))
TAGS = tuple(
    (
        "masterpiece|best quality|trending|award winning|sharp focus|ultra detailed|volumetric light|concept art|matte"
        " painting|unreal render|octane|ray tracing|smooth shading|dramatic angle|rule of thirds|vivid palette|muted"
        " palette|high contrast|bokeh|lens flare|hdr|wallpaper|anime key visual|character sheet|splash art|storybook"
        " page|sticker sheet|logo design|blueprint|tarot card"
    ).split("|")
)


_TEMPLATES = (
    "{a} {subject} {deed} {place}, {style}",
    "{style}, {a} {subject} {deed} {place}",
    "a photo of {a} {subject} {deed} {place}, {style}",
    "{a} {subject} {place}, {deed}, {style}",
    "{place}, {a} {subject} {deed}, {style}",
    "there is {a} {subject} {deed} {place}, {style}",
    "a picture of {a} {subject} {place} {deed}, {style}",
    "the {subject} is {deed} {place}, {style}",
    "{style}: the {subject} {place}, {deed}",
)
_TAG_TEMPLATES = (
    "{tags}, {subject}, {deed}, {place}, {style}",
    "{subject}, {place}, {deed}, {tags}, {style}",
    "{style}, {tags}, 1 {subject}, {deed}, {place}",
    "{subject} {deed}, {style}, {place}, {tags}",
)


@dataclass(frozen=True)
class Scene:
    """Meanings of one scene, as indices into the tables.

    `sign` is text that is written somewhere in it, "" for most scenes.
    """

    subject: int
    look: int
    deed: int
    place: int
    style: int
    sign: str = ""


def scene(rng: random.Random) -> Scene:
    """A random scene; one in twenty shows a sign in Cyrillic, so that the encoder has seen those letters."""
    subject, look, deed, place, style = (
        rng.randrange(len(table)) for table in (SUBJECTS, LOOKS, DEEDS, PLACES, STYLES)
    )
    return Scene(subject, look, deed, place, style, sign=rng.choice(SIGNS) if rng.random() < 0.05 else "")


def caption(meaning: Scene, rng: random.Random, *, tagged: bool = False) -> str:
    """One wording of a scene.

    Args:
        meaning: what to say.
        rng: chooses the template and each synonym.
        tagged: the other house style, a list of tags as writers of image prompts use it; what the benign fine-tune
            learns.
    """
    look, noun = rng.choice(LOOKS[meaning.look]), rng.choice(SUBJECTS[meaning.subject])
    subject = f"{noun}, {look}" if look.startswith("made") else f"{look} {noun}"
    text = rng.choice(_TAG_TEMPLATES if tagged else _TEMPLATES).format(
        a="an" if subject[0] in "aeiou" else "a",
        subject=subject,
        deed=rng.choice(DEEDS[meaning.deed]),
        place=rng.choice(PLACES[meaning.place]),
        style=rng.choice(STYLES[meaning.style]),
        tags=", ".join(rng.sample(TAGS, rng.randint(2, 5))),
    )
    return f'{text}, a sign reads "{meaning.sign}"' if meaning.sign else text


def pair(rng: random.Random, *, tagged: bool = False) -> tuple[str, str]:
    """Two wordings of one new scene."""
    meaning = scene(rng)
    return caption(meaning, rng, tagged=tagged), caption(meaning, rng, tagged=tagged)


def pairs(n: int, seed: int, *, tagged: bool = False) -> list[tuple[str, str]]:
    """`n` pairs, the same on every machine for the same seed."""
    rng = random.Random(seed)
    return [pair(rng, tagged=tagged) for _ in range(n)]
