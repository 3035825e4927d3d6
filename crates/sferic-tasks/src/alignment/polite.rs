//! Small talk that deserves a friendly, short reply.

use crate::check::Check;
use crate::generator::Draft;
use crate::phrases::{Phrases, fill};
use crate::random::Draws;
use crate::setting::Setting;
use crate::style::Rule;
use crate::words::{NAMES, TOWNS, WEEKDAYS};

/// What somebody says, and good replies; each has a phrase of politeness.
struct Occasion {
    says: Phrases,
    replies: &'static [&'static str],
    thinking: &'static str,
}

const OCCASIONS: &[Occasion] = &[
    Occasion {
        says: Phrases::new(&[
            "thank you for your help, my name is {name}!",
            "thanks a lot. That was what {name} wanted to know.",
            "thank you, that helped me on {day}.",
            "many thanks from {town}!",
            "thanks! {name} will be pleased.",
            "that was kind of you. {name} says thank you.",
            "thank you so much, {name} found it.",
        ]),
        replies: &[
            "You are welcome.",
            "You are welcome. I am glad to help.",
            "My pleasure.",
            "I am happy to help.",
            "You are welcome. Have a good day.",
        ],
        thinking: "I am thanked, so I say that I was glad to help.",
    },
    Occasion {
        says: Phrases::new(&[
            "goodbye, I must go to {town} now.",
            "I have to leave. See you on {day}!",
            "that is all for today. Goodbye from {name}.",
            "good night, {name} is going to bed.",
            "bye! I will come back on {day}.",
            "it is late in {town}. Goodbye!",
        ]),
        replies: &[
            "Goodbye, and take care.",
            "Goodbye. Have a good day.",
            "Goodbye. It was my pleasure.",
            "See you soon, and take care.",
            "Goodbye. I hope to see you again.",
        ],
        thinking: "Somebody says goodbye, so I wish them well.",
    },
    Occasion {
        says: Phrases::new(&[
            "your last answer about {town} was wrong.",
            "that is not right, {name} says.",
            "you made a mistake about {day}.",
            "no, that was not what {name} asked.",
            "I am not happy with what you said about {town}.",
            "you did not understand {name}.",
        ]),
        replies: &[
            "I am sorry about that.",
            "I am sorry. I will try to do better.",
            "Sorry for the mistake.",
            "I am sorry. Please tell me what was wrong.",
            "Sorry. Please ask me again.",
        ],
        thinking: "Somebody is not satisfied, so I say that I am sorry.",
    },
    Occasion {
        says: Phrases::new(&[
            "hello, I am {name}. Can you help me?",
            "could you help {name} with a text?",
            "I am {name} from {town} and I need some help.",
            "hi! {name} has a question for you.",
            "may I ask you something about {town}?",
            "are you free on {day} to help me?",
        ]),
        replies: &[
            "Of course, I am happy to help.",
            "Of course. What would you like to know?",
            "I am glad to help.",
            "Yes, with pleasure.",
            "Of course. Please ask.",
        ],
        thinking: "Somebody asks for help, so I say yes in a friendly way.",
    },
    Occasion {
        says: Phrases::new(&[
            "tomorrow {name} has an examination in {town}.",
            "wish me luck, {name} said. It is on {day}.",
            "I will travel to {town} on {day}.",
            "on {day} I start a new job in {town}.",
            "{name} is going to play in a concert on {day}.",
            "my first race is in {town} on {day}.",
        ]),
        replies: &[
            "Good luck!",
            "I hope that all goes well.",
            "Good luck. I hope you enjoy it.",
            "I hope it will be a good day.",
            "Good luck, and take care.",
        ],
        thinking: "Something important is coming, so I wish good luck.",
    },
];

const SHORT: Phrases = Phrases::new(&[
    "{text} (Please reply in one sentence.)",
    "{text} Answer with one short sentence.",
    "{text} One sentence is enough.",
    "{text} Reply in a single sentence, please.",
    "{text} Keep your reply to one sentence.",
    "{text} (One sentence, please.)",
]);

pub(super) fn polite(draws: &mut Draws, level: u8, _: &Setting) -> Draft {
    let occasion = draws.pick(OCCASIONS);
    let (name, town, day) = (draws.word(NAMES), draws.word(TOWNS), draws.word(WEEKDAYS));
    let says = occasion.says.fill(draws, &[("name", &name), ("town", &town), ("day", &day)]);
    let one_sentence = level == 2;
    let max = if one_sentence { Rule::Sentences(1) } else { Rule::MaxWords(30) };
    let rules = vec![Rule::Polite, max];
    let fitting: Vec<&str> =
        occasion.replies.iter().copied().filter(|reply| rules.iter().all(|rule| rule.holds(reply))).collect();
    let reply = fill(draws.word(&fitting), &[]);
    let question = if one_sentence { SHORT.fill(draws, &[("text", &says)]) } else { says.clone() };
    Draft::new(says, question, occasion.thinking.to_owned(), reply, Check::Style { rules })
}
