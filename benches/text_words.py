"""What is written in the clips of text_clips.py: titles, names, headlines, credits, signs, subtitles and counters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import numpy as np

Rng: TypeAlias = np.random.Generator
T = TypeVar("T")

FIRST = """Anna Björn Chloé David Elena Fatima Günther Hannah Ingrid José Kenji Lucía Marek Nadia Øystein Priya
Quentin Rosa Søren Thomas Ulrike Victor Wanda Xavier Yusuf Zoë Amélie Carlos Deborah Emil Frieda Gordon Hélène Ivan
Joanna""".split()
LAST = """Kowalski Andersson Bergström Carter Dubois Eriksen Fernández García Hughes Ibrahim Jørgensen Keller
Lindqvist Müller Nakamura O'Brien Peña Quinn Rossi Schäfer Taylor Urquhart Vasquez Williams Yamamoto Zimmermann
Núñez McAllister Johnson Østergaard Garçon Whitfield Okafor Petrov Singh""".split()
PLACES = """London Zürich Málaga Oslo Kraków Lisbon Nairobi Toronto Köln Seoul Bristol Tromsø Alençon Quebec Dublin
Valparaíso Hamburg Kyoto Denver Lyon Edinburgh Besançon Malmö Cardiff Geneva Chicago""".split()
JOBS = [
    "Marine Biologist", "Head of Research", "Mayor of {place}", "Chief Economist", "Eyewitness",
    "Professor of History", "Reporting from {place}", "Volunteer, Red Cross", "Author of 'The Long Winter'",
    "Team Captain", "Beekeeper", "Director, City Museum", "Café Owner", "Police Spokesperson",
    "Student, University of {place}", "Retired Teacher", "Weather Presenter", "Pilot (1998–2014)",
    "CEO, Northwind Energy", "Violinist & Composer", "Minister for Transport",
]  # fmt: skip
TITLES = [
    "The Last Lighthouse", "Chapter One", "A Quiet Morning", "The Road to {place}", "Winter Garden",
    "Three Years Later", "In the Shadow of the Mountain", "Part 2: Return", "Once upon a time", "Northern Lights",
    "The Glass Harbour", "How Bread Is Made", "Episode 7", "Stories from {place}", "{place}, 1987",
    "Monday, 14 March", "The Fifth Season", "Meanwhile, in {place}", "Letters Home", "Two Weeks Earlier", "The End",
    "Under the Volcano", "Fin de l'été", "One Hundred Bridges", "Life After Work", "Where Rivers Meet", "Déjà Vu",
    "Big Numbers", "Cold Water", "Day 365", "Beyond the Fjord", "The Clockmaker's Daughter", "Seven Simple Rules",
    "Night Train", "Why Birds Sing", "The Orchard Keeper", "Chasing the Monsoon", "El Niño", "Paper Boats",
    "Step 4: Let it rest", "Über den Wolken",
]  # fmt: skip
UNDER = [
    "A film by {name}", "Based on a true story", "Starring {name}", "Season 3", "with {name}", "Music by {name}",
    "Written and directed by {name}", "Summer 2019", "{place}, 6:45 a.m.", "A documentary in four parts",
    "Presented by", "From the makers of 'Tideland'", "Recorded live in {place}", "Population: 12,480",
    "Narrated by {name}", "Lake Superior, Canada", "15 kilometres from {place}", "www.example.org", "Next week",
    "First of six films",
]  # fmt: skip
HEADLINES = [
    "Storm warning for the north coast", "Shares rise 2.4% in early trading", "New bridge opens in {place}",
    "Trains to {place} delayed", "Museum reports record visitors", "Cup final moved to Sunday",
    "Prices fall for third month", "{name} wins book prize", "Schools in {place} reopen", "Rain expected on Friday",
    "Vote count continues in {place}", "Lost dog found after 9 days", "Airport strike ends", "Oil at $74.20 a barrel",
    "Scientists map ancient forest", "Team of {name} leads by 12 points", "Library extends opening hours",
    "Power restored to 3,000 homes", "Harvest begins two weeks early", "City council approves tram line",
]  # fmt: skip
ROLES = """Director, Producer, Executive Producer, Screenplay, Editor, Camera, First Assistant Camera, Sound Mixer,
Costume Design, Make-up Artist, Casting, Gaffer, Key Grip, Visual Effects, Colourist, Location Manager, Script
Supervisor, Stunt Coordinator, Boom Operator, Catering, Production Assistant, Music Supervisor, Legal Adviser,
Animal Trainer""".replace("\n", " ").split(", ")
SIGNS = [
    ["EXIT"], ["Rue Haute"], ["Platform 9"], ["OPEN DAILY", "9:00 – 18:00"], ["BAKERY"], ["Station Road"],
    ["NO PARKING"], ["Pharmacy"], ["Gate B12"], ["Welcome to", "{place}"], ["HOTEL", "{last}"], ["Calle Mayor"],
    ["TICKETS"], ["Caution", "Wet floor"], ["Café {last}"], ["BOOKS & MAPS"], ["{place} 45 km"], ["Museum Street"],
    ["SALE", "50% off"], ["Fresh Fish"], ["Push"], ["City Library"], ["STAFF ONLY"], ["Dr. {last}", "2nd floor"],
    ["Harbour Tours"], ["Room 217"], ["Straße des Friedens"], ["Police"], ["Bicycle Repair"],
    ["Danger", "High voltage"], ["Max. 30 km/h"], ["Flowers"], ["{last} & Sons", "since 1924"], ["Toilets"],
    ["Reception"], ["Bus Stop 14"], ["Garage"], ["Piazza Nuova"], ["Emergency exit"], ["Lost Property"],
    ["Swimming Pool"], ["Keep left"], ["School"], ["Fire door", "Keep shut"], ["Elevator"],
    ["Ocean View", "Apartments"],
]  # fmt: skip
SPEECH = [
    "I never thought we would come back.", "Where did you leave the car?", "It has been raining since Tuesday.",
    "You don't have to decide today.", "We need at least 40 more people.", "Look, there it is!",
    "My grandmother built this house.", "What time does the ferry leave?", "At half past six, I think.",
    "Nobody told me about the letter.", "That's not what she said.", "Are you coming, {first}?",
    "Give me five minutes.", "The bakery on the corner is closed.", "He moved to {place} years ago.",
    "And then the lights went out.", "Don't worry, we have enough food.", "I'll meet you at the old bridge.",
    "This is the best coffee in {place}.", "Can you hear the sea from here?", "It costs more than I expected.",
    "She was only twelve at the time.", "Let me show you something.", "I promised {first} I would call.",
    "You were right all along.", "The doctor will see you now.", "We lost the key again.",
    "Everyone was waiting for {first}.", "There is a train every hour.", "I wouldn't do that if I were you.",
    "Please close the window.", "How long have you lived here?", "Thank you for coming so quickly.",
    "Nothing ever changes in {place}.",
]  # fmt: skip
LOGOS = ["NORDLYS TV", "Channel 8", "LIVE", "Meridian", "KANAL 5", "Prime+", "City News", "HARBOUR HD", "Aurora"]
MARKS = ["© Example Footage", "PREVIEW COPY", "www.example.com", "Sample – do not share", "© 2024 {last} Films"]


def pick(rng: Rng, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


class Writer:
    """Draws texts, none of them twice for one clip."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.used: set[str] = set()

    def name(self) -> str:
        return f"{pick(self.rng, FIRST)} {pick(self.rng, LAST)}"

    def fill(self, text: str) -> str:
        """A template with a name, a first or last name or a place of its own."""
        rng = self.rng
        fields = {"name": self.name(), "first": pick(rng, FIRST), "last": pick(rng, LAST), "place": pick(rng, PLACES)}
        return text.format(**fields)

    def fresh(self, templates: Sequence[str]) -> str:
        """A text that this clip does not show yet."""
        for _ in range(200):
            text = self.fill(pick(self.rng, templates))
            if text.casefold() not in self.used:
                break
        self.used.add(text.casefold())
        return text

    def person(self) -> str:
        return self.fresh(["{name}"])

    def title(self, lines: int) -> list[str]:
        return [self.fresh(TITLES), *(self.fresh(UNDER) for _ in range(lines - 1))]

    def headline(self) -> str:
        return self.fresh(HEADLINES)

    def third(self) -> list[str]:
        return [self.person(), self.fresh(JOBS)]

    def sign(self) -> list[str]:
        for _ in range(200):
            lines = [self.fill(t) for t in pick(self.rng, SIGNS)]
            if lines[0].casefold() not in self.used:
                break
        self.used.update(line.casefold() for line in lines)
        return lines

    def credits(self, count: int) -> list[tuple[str, list[str]]]:
        """Roles with one to three names each."""
        roles = self.rng.permutation(ROLES)[:count]
        return [(str(role), [self.person() for _ in range(int(self.rng.choice([1, 1, 2, 3])))]) for role in roles]

    def speech(self) -> list[str]:
        """One or two lines of a subtitle."""
        return [self.fresh(SPEECH) for _ in range(int(self.rng.choice([1, 2, 2])))]

    def counter(self, seconds: float) -> list[tuple[float, str]]:
        """What a clock or a score shows, with the second from which it shows it."""
        rng = self.rng
        start, style = int(rng.integers(60, 80000)), int(rng.integers(4))
        if style == 3:
            points, at, shown = int(rng.integers(0, 900)), 0.0, []
            while at < seconds:
                shown.append((at, f"SCORE {points}"))
                points, at = points + int(rng.choice([10, 25, 50])), at + float(rng.uniform(0.8, 3.0))
            return shown
        seconds_of_day = [start + s for s in range(int(seconds) + 2)]
        formats = ["{h:02}:{m:02}:{s:02}", "REC {h:02}:{m:02}:{s:02}", "{m:02}:{s:02}"]
        phase = float(rng.uniform(0, 1))
        return [
            (max(0.0, k - phase), formats[style].format(h=v // 3600, m=v // 60 % 60, s=v % 60))
            for k, v in enumerate(seconds_of_day)
        ]
