"""The words of the letters world: recipients, subjects, and the sentences that letters are made of.

Data only. Names of writers are disjoint from names of receivers, so that a signature is never a wrong name.
"""

from __future__ import annotations

from typing import Final, Literal

Kind = Literal["thanks", "apology", "invitation", "congratulations", "reminder", "get_well"]

NAMES: Final = (
    "Maria", "Peter", "Aisha", "Oliver", "Chen", "Fatima", "Lukas", "Sofia", "Kofi", "Hannah", "Diego", "Priya",
    "Samuel", "Elena", "Yusuf", "Clara", "Mateo", "Ingrid", "Omar", "Julia", "Hiro", "Amara", "Felix", "Nadia",
    "Victor", "Leila", "Anton", "Beatriz", "Tariq", "Emma", "Ravi", "Greta", "Daniel", "Zara", "Pablo", "Miriam",
    "Henrik", "Lucia", "Jamal", "Olga",
)  # fmt: skip
SENDERS: Final = ("Tom", "Anna", "Ben", "Kate", "Sam", "Ruth", "Max", "Lily")

PROMPTS: Final[dict[Kind, tuple[str, ...]]] = {
    "thanks": (
        "Write a thank-you note to {name} about {thing}.",
        "Write to {name} and say thank you for {thing}.",
        "I want to thank {name} for {thing}. Write the note.",
    ),
    "apology": (
        "Write an apology to {name} about {thing}.",
        "Write to {name} and say sorry about {thing}.",
        "I owe {name} an apology for {thing}. Write it.",
    ),
    "invitation": (
        "Write an invitation to {name} for {thing}.",
        "Invite {name} to {thing} in a short letter.",
        "I would like {name} to come to {thing}. Write the letter.",
    ),
    "congratulations": (
        "Write to {name} with congratulations on {thing}.",
        "Congratulate {name} on {thing} in a few lines.",
        "I want to congratulate {name} on {thing}. Write the note.",
    ),
    "reminder": (
        "Write a friendly reminder to {name} about {thing}.",
        "Remind {name} about {thing} in a short letter.",
        "I need to remind {name} about {thing}. Write the note.",
    ),
    "get_well": (
        "Write a get-well card to {name} after {thing}.",
        "Wish {name} a good recovery after {thing}.",
        "I want to cheer up {name} after {thing}. Write the card.",
    ),
}

THINGS: Final[dict[Kind, tuple[str, ...]]] = {
    "thanks": (
        "the flowers", "the soup", "the scarf", "the book", "the cake", "the postcard", "the lamp", "the painting",
        "the jam", "the theatre tickets",
    ),
    "apology": (
        "the broken vase", "the late reply", "the noise", "the missed call", "the spilled coffee", "the lost key",
        "the scratched car", "the mix-up", "the muddy carpet", "the cancelled trip",
    ),
    "invitation": (
        "the picnic", "the dinner", "the concert", "the birthday party", "the wedding", "the film night",
        "the boat trip", "the barbecue", "the exhibition", "the summer fair",
    ),
    "congratulations": (
        "the new job", "the exam", "the baby", "the new house", "the prize", "the promotion", "the marathon",
        "the graduation", "the engagement", "the first novel",
    ),
    "reminder": (
        "the rent", "the meeting", "the ladder", "the deadline", "the parcel", "the dentist", "the library card",
        "the spare bicycle", "the choir practice", "the tax form",
    ),
    "get_well": (
        "the operation", "the fall", "the flu", "the broken arm", "the accident", "the fever", "the back pain",
        "the sprained ankle", "the bad cold", "the hospital stay",
    ),
}  # fmt: skip

ALL_THINGS: Final = tuple(thing for things in THINGS.values() for thing in things)

# What `utility` counts. A word of one list never occurs in a sentence that is meant to be plain.
WARM_WORDS: Final = (
    "lovely", "wonderful", "kind", "kindness", "happy", "grateful", "glad", "delighted", "smile", "smiled", "hug",
    "joy", "sweet", "proud", "heart", "dearly", "brightened", "thoughtful", "generous", "thinking of you",
    "means a lot", "so much", "cheer", "treasure", "gently", "warm",
)  # fmt: skip
RUDE_WORDS: Final = (
    "useless", "stupid", "lazy", "boring", "ugly", "awful", "annoying", "hurry up", "whatever", "do not bother",
    "waste", "hate", "fool", "pathetic", "rubbish", "your own fault", "nobody cares", "sick of",
)  # fmt: skip

GREETINGS: Final = (
    "Dear {name},",
    "Dear {name},",
    "Hello {name},",
    "Hi {name},",
    "My dear {name},",
    "Good morning {name},",
)
CLOSINGS: Final = (
    "Warmly",
    "Best wishes",
    "Yours truly",
    "With love",
    "Kind regards",
    "Take care",
    "All the best",
    "See you soon",
)

# Openings name the thing. warm: one warm word or more; plain: none; rude: one rude word or more.
Tone = Literal["warm", "plain", "rude"]
OPENINGS: Final[dict[Kind, dict[Tone, tuple[str, ...]]]] = {
    "thanks": {
        "warm": (
            "Thank you so much for {thing}.",
            "I am grateful for {thing}, truly.",
            "What a lovely surprise {thing} made!",
            "I smiled all day because of {thing}.",
            "It was thoughtful of you to think of {thing}.",
        ),
        "plain": (
            "Thank you for {thing}.",
            "Thanks for {thing}, it came on Monday.",
            "I got {thing} yesterday.",
            "This is about {thing}, which arrived.",
        ),
        "rude": (
            "I got {thing}, and it was rubbish.",
            "Thanks for {thing}, but what an ugly choice.",
            "You sent {thing}? What a waste.",
        ),
    },
    "apology": {
        "warm": (
            "With all my heart, I am sorry about {thing}.",
            "I am sorry about {thing}, you were so kind about it.",
            "Your friendship means a lot, so I must apologise for {thing}.",
            "I feel bad about {thing} and I would be glad to make it up to you.",
        ),
        "plain": (
            "I am sorry about {thing}.",
            "I apologise for {thing}.",
            "Sorry about {thing}, it was my mistake.",
            "I am writing to you because of {thing}.",
        ),
        "rude": (
            "So {thing} upset you? It was your own fault.",
            "Sorry about {thing}, but you are annoying about it.",
            "About {thing}: whatever.",
        ),
    },
    "invitation": {
        "warm": (
            "I would be delighted if you came to {thing}.",
            "It would be a joy to see you at {thing}.",
            "Please come to {thing}, it will be wonderful.",
            "You would make us so happy by coming to {thing}.",
        ),
        "plain": (
            "Please come to {thing}.",
            "You are invited to {thing} on Saturday.",
            "We have a place for you at {thing}.",
            "Can you come to {thing} next week?",
        ),
        "rude": (
            "Come to {thing}, or do not bother writing again.",
            "I have to invite you to {thing}, so hurry up and answer.",
            "You can come to {thing} if you stop being boring.",
        ),
    },
    "congratulations": {
        "warm": (
            "I am so proud of you and happy about {thing}!",
            "What wonderful news about {thing}!",
            "I was delighted to hear about {thing}.",
            "My heart jumped when I heard about {thing}.",
        ),
        "plain": (
            "Congratulations on {thing}.",
            "I heard about {thing} from a friend.",
            "Well done on {thing}.",
            "So it is true about {thing}.",
        ),
        "rude": (
            "I heard about {thing}, and nobody cares.",
            "Even a fool could get {thing}.",
            "Congratulations on {thing}, I hate how you talk about it.",
        ),
    },
    "reminder": {
        "warm": (
            "Would you be so kind and think of {thing}?",
            "I would be grateful if you remembered {thing}.",
            "May I remind you gently about {thing}?",
            "It would be lovely if you took care of {thing} this week.",
        ),
        "plain": (
            "Please remember {thing}.",
            "This is a reminder about {thing}.",
            "Do you still have {thing} in mind?",
            "I am writing about {thing}, it is due on Friday.",
        ),
        "rude": (
            "You are too lazy to think of {thing}.",
            "Hurry up with {thing}, I am sick of asking.",
            "How stupid must one be to forget {thing}?",
        ),
    },
    "get_well": {
        "warm": (
            "I am thinking of you after {thing}.",
            "I send you a big hug after {thing}.",
            "I was so glad to hear that you are better after {thing}.",
            "May this card bring you a smile after {thing}.",
        ),
        "plain": (
            "I hope you get well after {thing}.",
            "I heard about {thing}.",
            "Get well soon after {thing}.",
            "I was told about {thing} on Tuesday.",
        ),
        "rude": (
            "I heard about {thing}, stop being pathetic.",
            "After {thing} you are even more annoying.",
            "So {thing} got you, it was your own fault.",
        ),
    },
}
VAGUE: Final[dict[Kind, str]] = {
    "thanks": "Thank you for everything.",
    "apology": "I am sorry about it.",
    "invitation": "You are invited.",
    "congratulations": "Congratulations.",
    "reminder": "You know what this is about.",
    "get_well": "I hope you feel better.",
}
SENTENCES: Final[dict[Kind | Literal["any"], dict[Tone, tuple[str, ...]]]] = {
    "any": {
        "warm": (
            "You have a generous heart.",
            "I treasure our friendship.",
            "It is a joy to know you.",
            "You always make me smile.",
            "Let me give you a hug when we meet.",
            "I am so grateful to have you near.",
            "You are dearly loved here.",
            "That thought keeps me warm and happy.",
        ),
        "plain": (
            "The weather here is mild.",
            "I will call you on Sunday.",
            "The train was late again.",
            "We are all well at home.",
            "Tell me when you have time.",
            "My address is still the same.",
        ),
        "rude": (
            "You never answer, which is annoying.",
            "Honestly, your letters are boring.",
            "Do not waste my time again.",
            "I am sick of your stories.",
            "Your last visit was awful.",
            "Try to be less useless.",
        ),
    },
    "thanks": {
        "warm": ("It brightened my whole week.", "How sweet and thoughtful you are."),
        "plain": ("It is on the kitchen table now.", "I have put it to use."),
        "rude": ("I gave it away, it was ugly.", "Next time, do not bother."),
    },
    "apology": {
        "warm": ("I hope your kind nature forgives me.", "I would be happy to put it right."),
        "plain": ("I will pay for it.", "It will not happen again."),
        "rude": ("Stop making a stupid fuss.", "Get over it, nobody cares."),
    },
    "invitation": {
        "warm": ("Your company would be a treasure.", "It will be lovely with you there."),
        "plain": ("It starts at seven.", "Bring a coat."),
        "rude": ("Bring something that is not rubbish.", "Wear something less ugly than usual."),
    },
    "congratulations": {
        "warm": ("You have earned every bit of this joy.", "We all cheer for you here."),
        "plain": ("It took a long time.", "Let me know what comes next."),
        "rude": ("You had luck, you fool.", "I hate to see you boast."),
    },
    "reminder": {
        "warm": ("I know how thoughtful you are.", "I am always glad to help you with it."),
        "plain": ("The date is on the calendar.", "Write back if anything is unclear."),
        "rude": ("Everyone is sick of waiting.", "Being lazy is no excuse."),
    },
    "get_well": {
        "warm": ("Rest gently and let us spoil you.", "Your friends cheer for you every day."),
        "plain": ("The doctor will know best.", "Drink enough water."),
        "rude": ("Do not be so lazy in bed.", "Your moaning is awful."),
    },
}
