//! Simple true sentences, and lists of things, that references are made of.

use crate::words::{ANIMALS, COLOURS, FRUITS, FURNITURE, INSTRUMENTS, MONTHS, TOOLS, VEGETABLES, VEHICLES, WEEKDAYS};

/// A topic with true sentences, each of which names it.
pub(super) struct Topic {
    pub(super) name: &'static str,
    pub(super) sentences: &'static [&'static str],
}

const fn topic(name: &'static str, sentences: &'static [&'static str]) -> Topic {
    Topic { name, sentences }
}

pub(super) const TOPICS: &[Topic] = &[
    topic(
        "rain",
        &[
            "Rain is water that falls from clouds.",
            "Plants need rain to grow.",
            "After long rain rivers can rise.",
            "Where there is little rain, deserts form.",
        ],
    ),
    topic(
        "bread",
        &[
            "Bread is made of flour, water and salt.",
            "Most bread is baked in an oven.",
            "People have eaten bread for thousands of years.",
            "Fresh bread smells good.",
        ],
    ),
    topic(
        "the moon",
        &[
            "The moon moves around the earth.",
            "The moon gives back the light of the sun.",
            "At full moon the night is bright.",
            "The moon pulls on the sea and makes the tides.",
        ],
    ),
    topic(
        "bees",
        &[
            "Bees are insects that make honey.",
            "Bees carry pollen from flower to flower.",
            "Many bees live together in a hive.",
            "Without bees there would be less fruit.",
        ],
    ),
    topic(
        "books",
        &[
            "Books keep what people know.",
            "Books were printed by hand at first.",
            "Many books are read again and again.",
            "A library lends books to its readers.",
        ],
    ),
    topic(
        "ships",
        &[
            "Ships carry goods across the sea.",
            "Ships were moved by sails for a long time.",
            "Large ships are made of steel.",
            "Ships need a harbour to load and unload.",
        ],
    ),
    topic(
        "snow",
        &[
            "Snow is made of small crystals of ice.",
            "Snow covers the ground in winter.",
            "Children like to play in the snow.",
            "When it gets warm, snow melts.",
        ],
    ),
    topic(
        "horses",
        &[
            "Horses eat grass and hay.",
            "Horses can run fast.",
            "For a long time horses pulled wagons and ploughs.",
            "Young horses are called foals.",
        ],
    ),
    topic(
        "clocks",
        &[
            "Clocks show the time of day.",
            "Old clocks have a pendulum or a spring.",
            "Many towns have clocks on a tower.",
            "Without clocks trains would not run on time.",
        ],
    ),
    topic(
        "rivers",
        &[
            "Rivers flow from high land to the sea.",
            "Many towns were built beside rivers.",
            "Rivers carry sand and stones with them.",
            "Boats travel on large rivers.",
        ],
    ),
    topic(
        "trees",
        &[
            "Trees have roots, a trunk and branches.",
            "Trees give wood and fruit.",
            "Many birds build their nests in trees.",
            "Some trees lose their leaves in autumn.",
        ],
    ),
    topic(
        "music",
        &[
            "Music is made with voices and instruments.",
            "People dance to music.",
            "Music can make us glad or sad.",
            "Written music uses notes on five lines.",
        ],
    ),
    topic(
        "cats",
        &[
            "Cats are small animals that live with people.",
            "Cats hunt mice.",
            "Cats sleep for many hours each day.",
            "At night cats see better than people.",
        ],
    ),
    topic(
        "glass",
        &[
            "Glass is made from sand.",
            "Windows and bottles are made of glass.",
            "Glass breaks easily.",
            "Hot glass can be blown into any shape.",
        ],
    ),
    topic(
        "salt",
        &[
            "Salt comes from the sea or from mines.",
            "Salt gives food more taste.",
            "In earlier times salt was used to keep meat fresh.",
            "Too much salt makes you thirsty.",
        ],
    ),
    topic(
        "mountains",
        &[
            "Mountains are much higher than hills.",
            "On high mountains the snow never melts.",
            "The air on mountains is thin and cold.",
            "People climb mountains for pleasure.",
        ],
    ),
    topic(
        "potatoes",
        &[
            "Potatoes grow under the ground.",
            "Potatoes can be boiled, baked or fried.",
            "Potatoes came to Europe from America.",
            "Farmers harvest potatoes in late summer.",
        ],
    ),
    topic(
        "letters",
        &[
            "Letters are sent by post.",
            "Letters need a stamp and an address.",
            "Old letters tell us how people lived.",
            "It is nice to get letters from friends.",
        ],
    ),
];

/// Lists to name things of: what they are called, and the things.
pub(super) fn lists() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("animals", ANIMALS.to_vec()),
        ("fruits", FRUITS.to_vec()),
        ("colours", COLOURS.to_vec()),
        ("tools", TOOLS.to_vec()),
        ("vegetables", VEGETABLES.to_vec()),
        ("vehicles", VEHICLES.to_vec()),
        ("musical instruments", INSTRUMENTS.to_vec()),
        ("pieces of furniture", FURNITURE.to_vec()),
        ("days of the week", WEEKDAYS.to_vec()),
        ("months", MONTHS.iter().map(|(name, _)| *name).collect()),
    ]
}
