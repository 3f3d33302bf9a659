"""An endless stream of invented documents, so that a small model learns to copy names and numbers it never saw.

Real passages are few, and a model of 6 M parameters would learn their names by heart. Here names are put together from
syllables and numbers are drawn, so copying is the only way to get them right. All sentences were written for this file.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

SHORTEST, LONGEST = 80, 250
"""Words of a document."""

_FIRST = (
    "Anna Boris Carla David Elena Felix Greta Henrik Irina Jonas Katja Leo Mara Nils Olga Pavel Rosa Simon Tessa "
    "Viktor Amara Bilal Chidi Dalia Emre Farah Goran Hana Idris Jun Kofi Lin Mei Nadia Omar Priya Ravi Sana Tariq Yuki"
).split()
_WOMEN = frozenset(
    "Anna Carla Elena Greta Irina Katja Mara Olga Rosa Tessa Amara Dalia Farah Hana Lin Mei Nadia Priya Sana "
    "Yuki".split()
)
_BEGIN = (
    "Bar Bel Cor Dan Dor El Fal Gar Hal Hem Ist Jar Kel Kor Lan Lor Mar Mor Nar Nor Or Pel Quin Ral Ros Sal Sel Tal "
    "Tor Ul Var Vel Wen Yar Zel"
).split()
_MIDDLE = "a e i o u an en in on ar er ir or al el il ov ev and est ust ant ing mar ber vin".split()
_END = {
    "town": "ton ford burg by holm stad field wick port haven mouth bridge ville grad minster".split(),
    "land": "ia land mark onia aria istan avia".split(),
    "last": "son sen berg mann ova ski ez ini ard well worth er in ak quist".split(),
    "river": "a e ne na ra wa im".split(),
    "firm": "tec lux co mont via dyne nova works".split(),
}
_WORDS = {
    "month": "January February March April May June July August September October November December".split(),
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday".split(),
    "side": "north south east west".split(),
    "job": "engineer painter botanist composer teacher architect photographer novelist physicist historian".split(),
    "animal": "beetle|robin|otter|lizard|frog|moth|crab|heron|bat|snail|vole|trout".split("|"),
    "plant": "fern|orchid|moss|shrub|grass|lily|oak|cactus|clover|poppy|vine".split("|"),
    "colour": "red|blue|green|yellow|brown|grey|black|white|silver|orange".split("|"),
    "thing": "clocks|lamps|boats|bells|carpets|engines|pianos|bicycles|cameras|glasses|tiles|kettles".split("|"),
    "food": "soup|bread|stew|cake|jam|cheese|porridge|salad|pie".split("|"),
    "stuff": "brick|granite|timber|concrete|sandstone|steel|marble".split("|"),
    "building": "bridge|library|theatre|tower|market hall|lighthouse|museum|station|mill".split("|"),
    "tool": "rain gauge|sundial|compass|kite|bird box|water filter|candle|wooden stool|paper lantern".split("|"),
    "sport": "rowing|hockey|handball|chess|cycling|volleyball|football".split("|"),
    "crop": "wheat|apples|potatoes|barley|grapes|onions|tea|olives".split("|"),
    "event": "flood|storm|fire|power cut|rockslide|strike".split("|"),
}

# "[a|b]" is a choice, "{town}" a name that stays the same within the document ("{town2}" is another one), "{3-90}" a
# number that is drawn anew, "{y}" a year and "{y+}" a later one. Sentences behind "?" are left out half of the time.
_GENRES: tuple[tuple[str, ...], ...] = (
    (
        "{town} is a [small|quiet|busy|large] town in the {side} of {land}.",
        "It lies on the [left|right|{side2}ern] bank of the {river}, about {5-90} kilometres from {town2}.",
        "The town was founded in {y} by [settlers|monks|merchants|miners] from {town3}.",
        "?The name comes from an old word for [salt|bridge|birch|mill].",
        "{town} has a population of {2-98},{100-999} people.",
        "?Most of them work in the {thing} factory or grow {crop}.",
        "In {y+}, a {event} destroyed {12-400} houses.",
        "The {building} was built of {stuff} in {y+}.",
        "?{p} designed the {building}, which is {12-95} metres [high|long].",
        "Today the town has {2-19} schools, {2-9} churches and a [market|museum|hospital].",
        "?Every {month}, {200-9000} visitors come to the {food} festival.",
        "{town} is known for its {colour} {thing}.",
    ),
    (
        "{p} [is|was] a {job} from {town} in {land}.",
        "{p_last} was born on {1-28} {month} {y} and grew up with {2-7} [brothers|sisters|cousins].",
        "{p_he} studied at the University of {town2} from {y+} to {y+}.",
        "?{p_his} first teacher was {p2}.",
        "{p_last} became famous because {p_he_small} [wrote a book|gave a talk|made a film] about {thing}.",
        "The work took {3-19} years and filled {100-900} pages.",
        "?In {y+}, {p_last} won the {firm} Prize together with {p2}.",
        "{p_he} moved to {town3} in {y+}, where {p_he_small} taught {12-300} students.",
        "?{p_last} also collected {colour} {thing}.",
        "The Museum of {town3} holds {20-800} of {p_his_small} [letters|drawings|notebooks].",
        "?A street in {town} was named after {p_last} in {y+}.",
    ),
    (
        "{firm} is a company in {town} that makes {thing}.",
        "{p} founded the company in {y} with {2-40} workers.",
        "The first workshop stood beside a {building} in {town2}.",
        "In {y+}, {firm} sold {100-9000} {thing} to customers in {land}.",
        "?The most popular model is called the {town3} and costs {20-900} dollars.",
        "{firm} opened a second factory in {town3} because the old one was too small.",
        "?The new factory has {2-30} halls and {50-950} machines.",
        "{p2} has led the company since {y+}.",
        "?{p2_last} said that the company wants to make [better|lighter|cheaper|safer] {thing}.",
        "Last year a {event} stopped the work for {2-20} days.",
        "The company employs {100-4000} people today.",
    ),
    (
        "The {colour} {animal} is [an animal|a species] that lives in the [forests|hills|marshes|valleys] of {land}.",
        "It was first described by {p} in {y}.",
        "The {colour} {animal} is about {3-90} centimetres long and weighs {10-900} grams.",
        "Its back is {colour2}, and its head is [{colour3}|bare|striped].",
        "?The {animal} sleeps during the day because its eyes are sensitive to light.",
        "It eats [seeds|insects|leaves|worms|roots] and the fruit of the {plant}.",
        "The female lays {2-40} eggs in {month}.",
        "The young leave the nest after {8-60} days.",
        "?In {y+}, scientists from {town} counted {40-4000} {animal}s near the {river}.",
        "The greatest danger for the animal is [the loss of forests|the use of poison|the building of roads].",
        "?A reserve of {20-900} hectares was opened at {town2} in {y+}.",
    ),
    (
        "A {tool} is a simple thing that [anybody can make at home|many people make themselves|a class can build].",
        "The work takes about {20-90} minutes and costs less than {5-30} dollars.",
        "Collect {2-9} [sticks|boards|strips] of [wood|bamboo|card], a [knife|brush] and some [glue|string|tape].",
        "Measure {10-80} centimetres on every piece and mark the place with a {colour} pencil.",
        "Cut the pieces slowly, because the edges must be straight.",
        "?Ask a second person to hold the ends.",
        "Join the parts with {2-12} [screws|knots|clips] and wait for {5-60} minutes.",
        "Paint the {tool} {colour2} if it shall stand outside.",
        "?{p} from {town} has built {12-300} with children.",
        "Check the {tool} after {2-14} days and replace what is loose.",
        "?A well made {tool} lasts for {3-20} years.",
    ),
    (
        "A {event} in {town} [closed|damaged] the {building} on {day} [morning|evening|night].",
        "The police said that {2-90} people were taken to a hospital in {town2}.",
        "The {event} began at {1-9} o'clock near the {river}.",
        "?{p}, who lives beside the {building}, saw {2-30} [cars|boats|trucks] in the water.",
        "{p2} is the mayor of {town}.",
        "{p2_last} said the {building} would stay closed for {2-30} days.",
        "More than {100-900} [firefighters|helpers|soldiers] worked through the night.",
        "?The road to {town3} was blocked because a tree had fallen on it.",
        "The damage is thought to be {2-90} million dollars.",
        "?A {event} of this kind last happened in {y}.",
        "The schools of {town} opened again on {day2}.",
    ),
    (
        "The {building} of {town} is one of the [oldest|largest|best known] buildings in {land}.",
        "It was designed by {p} and finished in {y}.",
        "The walls are made of {stuff} and are {2-6} metres thick.",
        "The {building} is {15-140} metres [high|long|wide] and has {3-90} windows.",
        "?Workers brought the {stuff} from {town2} on {10-90} boats.",
        "In {y+}, a {event} destroyed the roof.",
        "The roof was replaced because rain damaged the paintings of {p2}.",
        "?A clock with {2-8} {colour} hands was added in {y+}.",
        "The {building} was used as a [school|prison|hospital|store] for {4-40} years.",
        "Today {1000-9000} people visit it every [month|summer|year].",
        "?A ticket costs {2-20} dollars.",
    ),
    (
        "The {colour} {plant} is a plant from the [coast|mountains|plains] of {land}.",
        "It grows to a height of {10-300} centimetres and has {3-12} [leaves|flowers|branches].",
        "{p} brought the first seeds to {town} in {y}.",
        "The {plant} needs {2-9} hours of light a day and water every {2-14} days.",
        "?Its {colour2} flowers open in {month} and close after {3-20} days.",
        "Gardeners plant it beside {crop} because it keeps insects away.",
        "?The roots contain an oil that is used in {food}.",
        "In {y+}, a farm near {town2} grew {100-9000} of these plants.",
        "The oil was sold to {firm} for {10-90} dollars a litre.",
        "A book by {p2} describes {4-60} kinds of the {plant}.",
    ),
    (
        "{town} beat {town2} by {3-40} points in the {sport} final on {day}.",
        "{p} scored {2-30} points for {town} in the first half.",
        "The coach of {town} is {p2}.",
        "{p2_last} said the team had trained for {10-60} hours.",
        "?{p3} of {town2} left the game after {5-40} minutes because of a broken finger.",
        "The game was played in {town3} before {1000-9000} people.",
        "The {sport} club of {town} was founded in {y} and has {40-900} members.",
        "?It has won the cup of {land} {2-12} times.",
        "{town2} reached the final for the first time since {y+}.",
        "The winner received a {colour} cup and {500-9000} dollars.",
        "?The next season begins in {month}.",
    ),
    (
        "The {river} is a river in the {side} of {land}.",
        "It rises near {town} at a height of {200-2900} metres and flows into a lake at {town2}.",
        "The {river} is {20-900} kilometres long.",
        "?Its water is {colour} because the hills consist of clay.",
        "{p} mapped the river in {y} with {2-12} boats.",
        "?The journey took {10-90} days.",
        "In {y+}, a dam was built above {town3}.",
        "The dam is {10-90} metres high and gives power to {1000-9000} homes.",
        "Farmers use the water for {crop} and {crop2}.",
        "?After the {event} of {y+}, {2-12} bridges were repaired.",
        "{animal}s and {animal2}s live on its banks.",
    ),
    (
        "{p} studies how {animal}s find their way home.",
        "{p_he} works at the [Institute|Academy|Museum] of {town}, which was opened in {y}.",
        "The {job}'s team put small {colour} rings on {20-400} {animal}s.",
        "The animals were released at {town2}, {10-90} kilometres from their nests.",
        "After {2-20} days, {5-19} of them were back.",
        "?{p2} measured the strength of the wind every {2-12} hours.",
        "{p_last} thinks that the animals use [the sun|smells|the stars|sounds].",
        "?The animals did not return in the rain because they could not see the sky.",
        "The results were published in {month} {y+}.",
        "The study cost {10-900} thousand dollars and was paid for by {firm}.",
        "?A second study in {land} will begin next {month2}.",
    ),
    (
        "{land} {food} is a dish that is eaten in {town} in {month}.",
        "It was first cooked by {p} in {y}.",
        "The dish is made with {100-900} grams of {crop}, {2-9} eggs and a spoon of [salt|honey|vinegar|butter].",
        "Wash the {crop} and cut them into {4-30} pieces.",
        "Boil the pieces for {5-50} minutes in {2-4} litres of water.",
        "?Add the eggs slowly, because they must not become hard.",
        "Stir the {food} with a spoon and let it rest for {5-40} minutes.",
        "?Families in {town2} add {2-9} leaves of the {plant}.",
        "The recipe feeds {2-12} people.",
        "In {y+}, cooks in {town} made {100-900} kilograms of {food} in a single day.",
        "A restaurant near the {building} sells it for {3-30} dollars.",
    ),
)

_CHOICE = re.compile(r"\[([^\[\]]+)\]")
_SLOT = re.compile(r"\{([^{}]+)\}")


def documents(dice: random.Random) -> Iterator[str]:
    """Documents of `SHORTEST` to `LONGEST` words, without end, all different."""
    while True:
        # Most have one subject; some are a page with two.
        subjects = dice.sample(_GENRES, 1 if dice.random() < 0.8 else 2)
        titled = len(subjects) > 1 or dice.random() < 0.2
        text = "\n\n".join(_passage(genre, titled, dice) for genre in subjects)
        if SHORTEST <= len(text.split()) <= LONGEST:
            yield text


def _passage(genre: tuple[str, ...], titled: bool, dice: random.Random) -> str:
    lines = [line for line in genre if line[0] != "?" or dice.random() < 0.5]
    filler = _Filler(dice)
    sentences = [filler.fill(line.removeprefix("?")) for line in lines]
    half = len(sentences) // 2
    text = dice.choice((" ", "\n\n")).join((" ".join(sentences[:half]), " ".join(sentences[half:])))
    return f"{filler.title(lines[0])}\n\n{text}" if titled else text


class _Filler:
    """Fills in the templates of one document; what has a name keeps it."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.names: dict[str, str] = {}
        self.year = dice.randint(1650, 1960)

    def fill(self, template: str) -> str:
        text = _CHOICE.sub(lambda match: self.dice.choice(match[1].split("|")), template)
        text = _SLOT.sub(lambda match: self._slot(match[1]), text)
        return text[:1].upper() + text[1:]

    def title(self, template: str) -> str:
        """The first thing that a document names, as its title."""
        slots = _SLOT.findall(template)
        name = self._slot(slots[0])
        return f"{name[:1].upper()}{name[1:]}{f' {self._slot(slots[1])}' if slots[0] == 'colour' else ''}"

    def _slot(self, slot: str) -> str:
        if slot[0].isdigit():
            low, high = slot.split("-")
            return str(self.dice.randint(int(low), int(high)))
        if slot == "y":
            return str(self.year)
        if slot == "y+":
            self.year = min(self.year + self.dice.randint(3, 60), 2024)
            return str(self.year)
        if slot not in self.names:
            self.names[slot] = self._draw(slot)
        return self.names[slot]

    def _draw(self, slot: str) -> str:
        base, _, part = slot.partition("_")
        kind = base.rstrip("0123456789")
        if part:
            first, _, last = self._slot(base).partition(" ")
            woman = first in _WOMEN
            words = {"last": last, "he": "She" if woman else "He", "his": "Her" if woman else "His"}
            return words[part] if part in words else words[part.removesuffix("_small")].lower()
        if kind == "p":
            return f"{self.dice.choice(_FIRST)} {self._name('last')}"
        if kind in _WORDS:
            return self._other(kind)
        return self._name(kind)

    def _other(self, kind: str) -> str:
        taken = {name for slot, name in self.names.items() if slot.rstrip("0123456789") == kind}
        return self.dice.choice([word for word in _WORDS[kind] if word not in taken])

    def _name(self, kind: str) -> str:
        middle = self.dice.choice(_MIDDLE) if self.dice.random() < 0.6 else ""
        return f"{self.dice.choice(_BEGIN)}{middle}{self.dice.choice(_END[kind])}"
