//! Words that tasks are told with: simple, concrete, and spelled the same everywhere in English.

use std::fmt;

/// A thing that can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Noun {
    pub(crate) one: &'static str,
    pub(crate) many: &'static str,
}

/// A number of things: `1 apple`, `3 apples`.
pub(crate) struct Count(pub(crate) i64, pub(crate) Noun);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, if self.0 == 1 { self.1.one } else { self.1.many })
    }
}

const fn noun(one: &'static str, many: &'static str) -> Noun {
    Noun { one, many }
}

pub(crate) const NAMES: &[&str] = &[
    "Adam", "Alice", "Amir", "Anna", "Ben", "Bella", "Carl", "Clara", "Daniel", "Dora", "Emma", "Eric", "Fatima", "Felix",
    "Finn", "Grace", "Hanna", "Hugo", "Ida", "Ivan", "Jack", "Jane", "Jonas", "Julia", "Karim", "Kate", "Laura", "Leo", "Lily",
    "Lucas", "Maria", "Martin", "Maya", "Mina", "Nadia", "Nina", "Noah", "Nora", "Oliver", "Omar", "Paul", "Petra", "Rosa",
    "Ruth", "Sam", "Sara", "Simon", "Sofia", "Susan", "Tara", "Tom", "Uma", "Vera", "Victor", "Walter", "Wendy", "Yara", "Zoe",
];

pub(crate) const THINGS: &[Noun] = &[
    noun("apple", "apples"),
    noun("pear", "pears"),
    noun("orange", "oranges"),
    noun("plum", "plums"),
    noun("lemon", "lemons"),
    noun("book", "books"),
    noun("pencil", "pencils"),
    noun("stamp", "stamps"),
    noun("coin", "coins"),
    noun("card", "cards"),
    noun("marble", "marbles"),
    noun("button", "buttons"),
    noun("shell", "shells"),
    noun("stone", "stones"),
    noun("egg", "eggs"),
    noun("cookie", "cookies"),
    noun("candle", "candles"),
    noun("cup", "cups"),
    noun("plate", "plates"),
    noun("ticket", "tickets"),
    noun("flower", "flowers"),
    noun("balloon", "balloons"),
    noun("sticker", "stickers"),
    noun("nail", "nails"),
    noun("brick", "bricks"),
    noun("bottle", "bottles"),
    noun("chair", "chairs"),
    noun("postcard", "postcards"),
];

pub(crate) const CONTAINERS: &[Noun] = &[
    noun("box", "boxes"),
    noun("bag", "bags"),
    noun("basket", "baskets"),
    noun("crate", "crates"),
    noun("drawer", "drawers"),
    noun("shelf", "shelves"),
    noun("packet", "packets"),
    noun("tray", "trays"),
    noun("jar", "jars"),
    noun("case", "cases"),
];

pub(crate) const ANIMALS: &[&str] = &[
    "cat", "dog", "horse", "cow", "sheep", "goat", "rabbit", "mouse", "fox", "bear", "wolf", "lion", "tiger", "duck", "owl",
    "eagle", "frog", "snake", "whale", "camel", "donkey", "parrot",
];
pub(crate) const FRUITS: &[&str] = &[
    "apple", "pear", "plum", "cherry", "orange", "lemon", "banana", "peach", "grape", "melon", "mango", "fig", "apricot", "kiwi",
];
pub(crate) const COLOURS: &[&str] =
    &["red", "blue", "green", "yellow", "white", "black", "brown", "purple", "orange", "grey", "pink", "silver"];
pub(crate) const TOOLS: &[&str] =
    &["hammer", "saw", "drill", "spade", "rake", "ladder", "axe", "brush", "chisel", "wrench", "shovel", "needle"];
pub(crate) const VEGETABLES: &[&str] =
    &["carrot", "potato", "onion", "cabbage", "bean", "pea", "leek", "spinach", "turnip", "garlic", "pumpkin", "celery"];
pub(crate) const FURNITURE: &[&str] =
    &["table", "chair", "sofa", "bed", "desk", "shelf", "bench", "stool", "wardrobe", "cupboard"];
pub(crate) const VEHICLES: &[&str] =
    &["car", "bus", "train", "tram", "bicycle", "boat", "ship", "lorry", "tractor", "plane", "ferry", "van"];
pub(crate) const INSTRUMENTS: &[&str] =
    &["piano", "violin", "flute", "drum", "guitar", "trumpet", "harp", "cello", "organ", "clarinet"];

/// Words for tasks about letters: four to nine letters, small.
pub(crate) const PLAIN_WORDS: &[&str] = &[
    "anchor", "autumn", "banana", "barrel", "basket", "blanket", "bottle", "branch", "bridge", "butter", "button", "candle",
    "carpet", "castle", "cellar", "cheese", "church", "circle", "copper", "corner", "cotton", "desert", "dinner", "doctor",
    "dragon", "engine", "family", "farmer", "feather", "finger", "flower", "forest", "garden", "gentle", "ginger", "giraffe",
    "glass", "guitar", "hammer", "harbour", "honey", "island", "jacket", "kettle", "kitchen", "ladder", "lantern", "leather",
    "letter", "library", "lizard", "lobster", "machine", "market", "meadow", "mirror", "monkey", "morning", "mountain", "narrow",
    "needle", "notebook", "orange", "orchard", "oyster", "paper", "parrot", "pebble", "pencil", "pepper", "picture", "pillow",
    "planet", "pocket", "potato", "purple", "quarter", "quiet", "rabbit", "ribbon", "river", "rocket", "saddle", "sailor",
    "salmon", "school", "season", "secret", "shadow", "silver", "spider", "spring", "stable", "station", "stone", "summer",
    "sunset", "table", "teacher", "temple", "thunder", "ticket", "tiger", "timber", "tomato", "tunnel", "turtle", "valley",
    "velvet", "village", "violin", "wagon", "walnut", "water", "weather", "window", "winter", "wizard", "yellow",
];

pub(crate) const PLACES: &[&str] = &[
    "the kitchen",
    "the cellar",
    "the attic",
    "the garden shed",
    "the library",
    "the workshop",
    "the barn",
    "the office",
    "the school hall",
    "the harbour",
    "the station",
    "the bakery",
    "the museum",
    "the boathouse",
    "the greenhouse",
    "the mill",
];

pub(crate) const JOBS: &[&str] = &[
    "baker",
    "farmer",
    "teacher",
    "doctor",
    "gardener",
    "driver",
    "painter",
    "carpenter",
    "sailor",
    "nurse",
    "cook",
    "tailor",
    "butcher",
    "librarian",
    "plumber",
    "pilot",
];

pub(crate) const TOWNS: &[&str] = &[
    "Alderby",
    "Ashcombe",
    "Barlow",
    "Briarton",
    "Calverley",
    "Dunmore",
    "Eastwick",
    "Fenwick",
    "Glenbrook",
    "Harwell",
    "Ivydale",
    "Kestrel Bay",
    "Langford",
    "Marlow",
    "Northam",
    "Oakridge",
    "Penfield",
    "Redcliff",
    "Silverdale",
    "Thornbury",
    "Upwell",
    "Westbrook",
    "Wrenfield",
    "Yarmouth",
];

pub(crate) const WEEKDAYS: &[&str] = &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

pub(crate) const MONTHS: &[(&str, i64)] = &[
    ("January", 31),
    ("February", 28),
    ("March", 31),
    ("April", 30),
    ("May", 31),
    ("June", 30),
    ("July", 31),
    ("August", 31),
    ("September", 30),
    ("October", 31),
    ("November", 30),
    ("December", 31),
];
