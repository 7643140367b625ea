"""The metadata of the goldens: posts for `goldens.json` and cases of preprocessing for `text.json`."""

from typing import Any

LONG_CAPTION = " ".join(f"Day {day} of the trip and we still cannot believe how kind everybody has been to us." for day in range(1, 13))

POSTS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "fitting caption and tags",
        "cat.jpg",
        {"caption": "Happiest cat in town! @anna #CatsOfInstagram #love", "tags": ["cats", "#Love"]},
    ),
    (
        "misleading caption",
        "cat.jpg",
        {"caption": "Terrible traffic accident on the highway, three people injured", "tags": ["news"]},
    ),
    ("no metadata", "cat_alpha.png", {}),
    ("tags alone", "coffee.webp", {"tags": ["MondayMorning", "coffee_time", "coffee2go"]}),
    (
        "objects and scene",
        "astronaut.png",
        {
            "caption": "So proud of her",
            "scene": "space_museum",
            "objects": [
                {"label": "space_suit", "score": 0.93},
                {"label": "flag", "score": 0.55},
                {"label": "dog", "score": 0.2},
            ],
        },
    ),
    ("turned by EXIF", "astronaut_turned.jpg", {"caption": "RT @nasa: She did it! https://t.co/abc123 #SpaceShuttle #STS63"}),
    ("greyscale", "camera_grey.jpg", {"caption": "lonely and cold out here...", "tags": ["sad", "BlackAndWhite"]}),
    (
        "emoji and other scripts",
        "rocket.jpg",
        {"caption": "Это было невероятно 🚀🔥 すごい!! #宇宙 #ÇokGüzel", "place": "Cape Canaveral"},
    ),
    ("caption longer than the text encoder reads", "rocket_palette.png", {"caption": LONG_CAPTION}),
    ("links, mentions and hashtags alone", "galaxies.webp", {"caption": "@hubble www.example.org/a?b=c #DeepField #wow #WOW"}),
    ("first frame of an animation", "two_frames.gif", {"caption": "worst service ever, I hate this place", "tags": ["fail"]}),
    ("scene alone", "coffee.webp", {"caption": "best coffee ever, thank you", "scene": "coffee_shop"}),
]

CAPTIONS = [
    "", "   ", "plain words", "  two   spaces\tand\ttabs \n lines ", "no\u00a0break and\u2003em and\u3000ideographic space",
    "@someone hello", "hello@example.org", "mail me: a.b@c.de!", "RT @user_1: look at this", "@ alone and # alone", "##double #",
    "see http://t.co/AbC now", "HTTPS://EXAMPLE.ORG/X?y=1#frag end", "www.example.org", "Www.Example.org/path, next", "http:// nothing",
    "http://a.b/#tag #tag", "http://a.b/@name text", "text(http://a.b/c) more", "awww.cute",
    "#happy", "#happy#sad", "so #happy, so #Happy and #HAPPY", "#NYCMarathon2026", "#iPhone15Pro", "#ABCDef", "#aB", "#ABC", "#2fast2furious",
    "#snake_case_tag", "#__", "#_x_", "#über #Über #ÜBER", "#ÉtéÀParis", "#СловаПодряд2024", "#日本語タグ", "#日本2024", "#भारत", "#é (e + accent)",
    "#love❤️ #smile😀more", "😀😀 just emoji 👩‍👩‍👧", "#½price #x²", "#ǅungla", "caf\u00e9 cafe\u0301", "don't #dont", "a#b @c#d", "#a@b",
    "zero\u200bwidth #join\u200ber", "control\u001fseparator\u0085next", "right-to-left #مرحبا مرحبا", "#İstanbul #istanbul", "ſtraße #STRASSE #straße",
]  # fmt: skip

METADATA: list[dict[str, Any]] = [
    {},
    {"tags": ["a", "#a", "A", "##b", " #c ", "", "#", "d e", "fooBar", "FOO bar"]},
    {"caption": "x #Summer", "tags": ["summer", "SummerTime", "#SUMMER_TIME"]},
    {"scene": "beach_house"},
    {"scene": " _living__room_ "},
    {"scene": "  "},
    {"objects": []},
    {"objects": [{"label": "dog", "score": 0.93}]},
    {"objects": [{"label": "a", "score": 0.5}, {"label": "b", "score": 0.9}, {"label": "c", "score": 0.5}, {"label": "d"}]},
    {"objects": [{"label": "low", "score": 0.39999}, {"label": "edge", "score": 0.4}]},
    {"objects": [{"label": "low", "score": 0.1}], "scene": "street"},
    {"objects": [{"label": "traffic_light", "score": 0.8}, {"label": "traffic light", "score": 0.7}, {"label": "Car", "score": 0.6}]},
    {"objects": [{"label": "", "score": 0.8}, {"label": "_", "score": 0.7}, {"label": "cup"}], "scene": "kitchen"},
    {"caption": "all of it @you #Now https://x.y", "tags": ["here"], "scene": "city_street", "objects": [{"label": "bus", "score": 0.6}],
     "place": " Lisbon ", "taken_at": "2026-08-01T17:20:00Z"},
]  # fmt: skip
