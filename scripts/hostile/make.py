"""make.py OUT: the hostile corpus, small enough to be kept, and its manifest.json.

The manifest lists records: name, headers, value, and how the record ends with the default settings: `result`, or the
reason of its dead letter. A value is a list of parts, each a file of the folder, a text or base64, some many times over:
what is megabytes on the topic is a line here.
"""

import base64
import io
import json
import pathlib
import sys

from PIL import Image

from formats import *

SIDE = 7_000  # a square of 49 million pixels: just within decode.image_pixels
FRAMES = 1_001  # one more than decode.frames
TOO_MANY = 16_383  # the longest side of a WebP: within decode.image_side, and a square of it far beyond decode.image_pixels
MEGABYTES = 3_000_000  # what fits into a record beside its headers
IMAGE_TYPES = {"jpeg", "png", "webp", "gif"}

entries, files = [], {}


def parts_of(value):
    """A value as parts of the manifest."""
    pieces = value if isinstance(value, list) else [(value, 1)]
    told = []
    for piece, times in pieces:
        try:
            text = piece.decode()
            part = {"text": text} if "\0" not in text else {"base64": base64.b64encode(piece).decode()}
        except UnicodeDecodeError:
            part = {"base64": base64.b64encode(piece).decode()}
        told.append(part if times == 1 else part | {"times": times})
    return told


def image(name, ends, value, extension=None):
    """A post in the binary encoding. The content type is that of the name, whatever the bytes are."""
    kind = name.split("-")[0]
    headers = [["content-type", f"image/{kind if kind in IMAGE_TYPES else 'png'}"]]
    if isinstance(value, bytes):
        files[f"{name}.{extension or kind}"] = value
        told = [{"file": f"{name}.{extension or kind}"}]
    else:
        told = parts_of(value)
    entries.append({"name": name, "ends": ends, "headers": headers, "value": told})


def record(name, ends, value, headers=()):
    """Any record; without headers it is JSON."""
    value = value.encode() if isinstance(value, str) else value
    entries.append({"name": name, "ends": ends, "headers": [list(header) for header in headers], "value": parts_of(value)})


def saved(picture, kind, **options):
    bytes_ = io.BytesIO()
    picture.save(bytes_, kind, **options)
    return bytes_.getvalue()


def photo(width=64, height=48):
    """A picture with something to see: no format can store it in a few bytes."""
    picture = Image.new("RGB", (width, height))
    picture.putdata([(x * 4 % 256, y * 5 % 256, x * y % 256) for y in range(height) for x in range(width)])
    return picture


def jpegs():
    whole = saved(photo(), "JPEG", quality=80)
    image("jpeg-65500-pixels-square", "too_many_pixels", jpeg(QUANTISATION, jpeg_frame(65_500, 65_500), DC, segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")))
    image("jpeg-flat-49-megapixels", "result", fold(flat_jpeg(SIDE, SIDE), 1))
    for mode, what in [("RGB", "colours"), ("CMYK", "inks")]:
        flat = Image.new(mode, (SIDE, SIDE), (7, 8, 9, 10)[: len(mode)])
        value = saved(flat, "JPEG", quality=50, progressive=True, subsampling=0)
        image(f"jpeg-progressive-49-megapixels-of-{len(mode)}-{what}", "result", fold(value, 1))
    again = progressive_jpeg(SIDE, SIDE, 0)
    scan = progressive_jpeg(SIDE, SIDE, 1)[len(again) - 2 : -2]
    for scans, ends in [(150, "corrupt_image"), (250, "corrupt_image")]:
        image(f"jpeg-progressive-{scans}-scans-of-49-megapixels", ends, fold(again[:-2], 1) + [(scan, scans), (b"\xff\xd9", 1)])
    image("jpeg-arithmetic-without-data", "unsupported_format", flat_jpeg(64, 64, 0xC9))
    image("jpeg-12-bits", "unsupported_format", jpeg(QUANTISATION, jpeg_frame(64, 64, 0xC1, bits=12), DC))
    image("jpeg-hierarchical", "corrupt_image", jpeg(QUANTISATION, jpeg_frame(64, 64, 0xC5), DC))
    image("jpeg-without-height", "corrupt_image", jpeg(QUANTISATION, jpeg_frame(64, 0), DC))
    image("jpeg-of-255-components", "corrupt_image", jpeg(QUANTISATION, jpeg_frame(64, 64, components=255), DC))
    image("jpeg-without-tables", "corrupt_image", jpeg(jpeg_frame(64, 64), segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\0" * 24))
    image("jpeg-restart-interval-of-65535", "result", flat_jpeg(64, 64, before=segment(0xDD, b"\xff\xff")))
    image("jpeg-restarts-that-never-come", "corrupt_image", flat_jpeg(64, 64, before=segment(0xDD, b"\0\x01")))
    image("jpeg-many-segments", "result", [(whole[:2], 1), (segment(0xEF, b""), MEGABYTES // 4), (whole[2:], 1)])
    image("jpeg-many-comments", "result", [(whole[:2], 1), (segment(0xFE, b"x" * 600), 5_000), (whole[2:], 1)])
    image("jpeg-colour-profile-in-255-first-parts", "corrupt_image", [(whole[:2], 1), (segment(0xE2, b"ICC_PROFILE\0\x01\xff" + b"x" * 600), 255), (whole[2:], 1)])
    image("jpeg-fill-bytes", "result", [(whole[:2], 1), (b"\xff", MEGABYTES), (whole[2:], 1)])
    loop = b"II*\0\x08\0\0\0" + b"\xff\xff" + b"\x12\x01\x03\0\x01\0\0\0\x09\0\0\0" * 5_000 + b"\x08\0\0\0"
    image("jpeg-exif-that-refers-to-itself", "result", [(whole[:2], 1), *fold(segment(0xE1, b"Exif\0\0" + loop), 12), (whole[2:], 1)])
    image("jpeg-without-end", "corrupt_image", whole[:-2])
    image("jpeg-cut", "corrupt_image", whole[: len(whole) // 2])
    image("jpeg-cut-and-closed", "corrupt_image", whole[: len(whole) // 2] + b"\xff\xd9")
    image("jpeg-magic-alone", "corrupt_image", b"\xff\xd8\xff")
    image("jpeg-and-archive", "result", whole + b"PK\x05\x06" + b"\0" * 18)
    image("jpeg-with-script", "result", whole[:2] + segment(0xFE, b"<script>alert(1)</script><?php system($_GET[0]); ?>") + whole[2:])


def pngs():
    whole = saved(photo(), "PNG")
    zeros = png_of_zeros(8, 8, 8, 0, 1)
    head, data, end = zeros[8:33], zeros[33:-12], png_chunk(b"IEND")
    image("png-of-2147483647-pixels-square", "too_many_pixels", png(png_header(2**31 - 1, 2**31 - 1), data, end))
    image("png-of-no-pixels", "corrupt_image", png(png_header(0, 8), data, end))
    image("png-flat-49-megapixels", "result", fold(png_of_zeros(SIDE, SIDE, 8, 2, 3), 13))
    image("png-flat-49-megapixels-of-64-bits", "result", fold(png_of_zeros(SIDE, SIDE, 16, 6, 4), 13))
    image("png-flat-49-megapixels-interlaced", "result", fold(png_of_zeros(SIDE, SIDE, 8, 2, 3, interlaced=1), 13))
    image("png-49-megapixels-without-data", "corrupt_image", png(png_header(SIDE, SIDE, 16, 6), data, end))
    bomb = deflated_zeros(100_000_000)
    folded = lambda name, body: fold(png(head, png_chunk(name, body), data, end), 13)
    image("png-colour-profile-of-100-megabytes", "result", folded(b"iCCP", b"p\0\0" + bomb))
    profile = png_chunk(b"iCCP", b"p\0\0" + deflated_zeros(14 * 2**20))
    image("png-profile-and-text-of-more-than-16-mebibytes", "too_large", fold(png(head, profile), 13) + fold(png_chunk(b"tEXt", b"k\0" + b"x" * MEGABYTES) + data + end, 1))
    image("png-text-of-100-megabytes", "result", folded(b"zTXt", b"p\0\0" + bomb))
    image("png-international-text-of-100-megabytes", "result", folded(b"iTXt", b"p\0\x01\0\0\0" + bomb))
    image("png-many-chunks", "result", [(png(head), 1), (png_chunk(b"teSt"), MEGABYTES // 12), (data + end, 1)])
    image("png-many-texts", "result", [(png(head), 1), (png_chunk(b"tEXt", b"k\0v"), MEGABYTES // 15), (data + end, 1)])
    image("png-many-empty-data-chunks", "result", [(png(head), 1), (png_chunk(b"IDAT"), MEGABYTES // 12), (data + end, 1)])
    image("png-more-data-than-pixels", "result", png(head, png_chunk(b"IDAT", deflated_zeros(8_000)), end))
    image("png-wrong-checksum", "corrupt_image", png(head, data[:-1] + b"\0", end))
    image("png-without-palette", "corrupt_image", png(png_header(8, 8, 8, 3), data, end))
    image("png-of-unknown-colour", "corrupt_image", png(png_header(8, 8, 8, 5), data, end))
    image("png-chunk-of-4-gigabytes", "corrupt_image", png(head, b"\xff\xff\xff\xffIDAT"))
    image("png-cut", "corrupt_image", whole[: len(whole) // 2])
    image("png-magic-alone", "corrupt_image", whole[:8])
    image("png-and-archive", "result", whole + b"PK\x05\x06" + b"\0" * 18)
    control = lambda number, width, height: png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, 0, 0, 1, 1, 0, 0))
    promise = lambda frames: png_chunk(b"acTL", struct.pack(">II", frames, 0))
    image("png-that-promises-4-billion-frames", "too_many_frames", png(head, promise(2**32 - 1), data, end))
    image("png-of-1001-frames", "too_many_frames", [(png(head, promise(2)), 1), (control(0, 8, 8), FRAMES), (data + end, 1)])
    image("png-frame-larger-than-its-canvas", "too_many_pixels", png(head, promise(2), data, control(0, 30_000, 30_000), end))
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\x08"
    image("png-exif-of-no-orientation", "result", png(head, png_chunk(b"eXIf", exif), data, end))


def gifs():
    whole = saved(photo(), "GIF")
    one = gif_frame(1, 1)
    image("gif-65535-pixels-square", "too_many_pixels", gif(65_535, 65_535, one))
    image("gif-frame-larger-than-its-canvas", "too_many_pixels", gif(1, 1, gif_frame(65_535, 65_535)))
    image("gif-of-no-pixels", "corrupt_image", gif(0, 0, one))
    image("gif-flat-49-megapixels", "result", gif(SIDE, SIDE, gif_frame(SIDE, SIDE, lzw_zeros(SIDE * SIDE))))
    image("gif-flat-49-megapixels-interlaced", "result", gif(SIDE, SIDE, gif_frame(SIDE, SIDE, lzw_zeros(SIDE * SIDE), packed=0x40)))
    image("gif-frame-of-49-megapixels-on-one", "result", gif(1, 1, gif_frame(SIDE, SIDE, lzw_zeros(SIDE * SIDE))))
    image("gif-49-megapixels-without-data", "corrupt_image", gif(SIDE, SIDE, gif_frame(SIDE, SIDE)))
    image("gif-frame-beside-its-canvas", "result", gif(8, 8, gif_frame(8, 8, lzw_zeros(64), left=65_000, top=65_000)))
    image("gif-of-1001-frames", "too_many_frames", [(gif(1, 1)[:-1], 1), (one, FRAMES), (b";", 1)])
    image("gif-large-palettes", "result", [(gif(1, 1)[:-1], 1), (gif_frame(1, 1, packed=0x87, palette=b"," * 768), 1_000), (b";", 1)])
    image("gif-many-empty-extensions", "result", [(gif(1, 1)[:-1], 1), (b"!\xfe\0", MEGABYTES // 3), (one + b";", 1)])
    image("gif-comment-in-many-blocks", "result", [(gif(1, 1)[:-1] + b"!\xfe", 1), (b"\x01,", MEGABYTES // 2), (b"\0" + one + b";", 1)])
    image("gif-packet-of-megabytes", "result", [(gif(1, 1)[:-1] + b"!\xff\x0bXMP DataXMP", 1), (b"\xff" + b"x" * 255, MEGABYTES // 256), (b"\0" + one + b";", 1)])
    image("gif-without-palette", "corrupt_image", gif(1, 1, one, palette=b""))
    image("gif-code-size-of-255", "corrupt_image", gif(1, 1, gif_frame(1, 1, code_size=255)))
    image("gif-codes-beyond-the-table", "corrupt_image", gif(8, 8, gif_frame(8, 8, b"\xff" * 40)))
    image("gif-without-frames", "corrupt_image", gif(8, 8))
    image("gif-cut", "corrupt_image", whole[: len(whole) // 2])
    image("gif-magic-alone", "corrupt_image", b"GIF89a")
    image("gif-and-script", "result", whole + b"*/=1;alert(1)//")


def webps():
    lossy, lossless = saved(photo(), "WEBP", quality=80), saved(photo(), "WEBP", lossless=True)
    flat = Image.new("RGB", (SIDE, SIDE), (7, 8, 9))
    inner = lossless[12:]
    image("webp-lossy-16383-pixels-square", "too_many_pixels", webp(vp8_header(TOO_MANY, TOO_MANY)))
    image("webp-lossless-16383-pixels-square", "too_many_pixels", webp(vp8l_header(TOO_MANY, TOO_MANY)))
    image("webp-canvas-of-16777216-pixels-square", "too_many_pixels", webp(webp_canvas(2**24, 2**24, 0), inner))
    image("webp-frame-larger-than-its-canvas", "too_many_pixels", webp(webp_canvas(64, 48, 2), riff(b"ANIM", b"\0" * 6), webp_frame(64, 48, vp8l_header(TOO_MANY, TOO_MANY))))
    image("webp-lossless-flat-49-megapixels", "result", saved(flat, "WEBP", lossless=True, method=0))
    image("webp-lossy-flat-49-megapixels", "result", fold(saved(Image.new("RGB", (SIDE, SIDE)), "WEBP", quality=0, method=4), 31))
    image("webp-lossy-49-megapixels-without-data", "corrupt_image", webp(vp8_header(SIDE, SIDE)))
    image("webp-lossless-49-megapixels-without-data", "corrupt_image", webp(vp8l_header(SIDE, SIDE)))
    animated = lambda *frames: webp(webp_canvas(64, 48, 2), riff(b"ANIM", b"\0" * 6), *frames)
    image("webp-animated", "result", animated(webp_frame(64, 48, inner), webp_frame(64, 48, inner)))
    image("webp-of-1001-frames", "too_many_frames", fold(animated(*[webp_frame(64, 48, vp8l_header(64, 48))] * FRAMES), 46))
    image("webp-frame-of-another-size", "corrupt_image", animated(webp_frame(4_000, 4_000, inner)))
    image("webp-profile-of-4-gigabytes", "corrupt_image", webp(webp_canvas(64, 48, 0x08), inner, b"EXIF\xff\xff\xff\xff"))
    image("webp-chunk-behind-the-end", "result", lossless + b"EXIF\xff\xff\xff\xff")
    image("webp-many-chunks", "result", many_chunks(inner))
    image("webp-alpha-without-data", "corrupt_image", webp(webp_canvas(64, 48, 0x10), riff(b"ALPH", b"\x01"), lossy[12:]))
    image("webp-both-codecs", "corrupt_image", webp(webp_canvas(64, 48, 0), lossy[12:], inner))
    image("webp-canvas-alone", "corrupt_image", webp(webp_canvas(64, 48, 0)))
    image("webp-cut", "corrupt_image", lossy[: len(lossy) // 2])
    image("webp-lossless-cut", "corrupt_image", lossless[: len(lossless) // 2])
    image("webp-magic-alone", "corrupt_image", b"RIFF\x04\0\0\0WEBP")


def many_chunks(inner):
    count = MEGABYTES // 8
    head = webp_canvas(64, 48, 0) + inner
    size = 4 + len(head) + 8 * count
    return [(b"RIFF" + struct.pack("<I", size) + b"WEBP" + head, 1), (riff(b"teSt", b""), count)]


def disguises():
    jpeg_, png_ = saved(photo(), "JPEG", quality=80), saved(photo(), "PNG")
    image("png-that-is-a-jpeg", "result", jpeg_, "jpeg")
    image("jpeg-that-is-a-png", "result", png_, "png")
    for name, value in {
        "bmp": saved(photo(4, 4), "BMP"),
        "tiff": saved(photo(4, 4), "TIFF"),
        "icon": b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0\x68\x04\0\0\x16\0\0\0",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n{(/etc/passwd) (r) file} stopped\n",
        "magick": b"push graphic-context\nimage over 0,0 0,0 'https://127.0.0.1/x'\npop graphic-context\n",
        "archive": b"PK\x03\x04" + b"\0" * 26,
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + b"\0" * 8,
        "html": b"<!DOCTYPE html><title>404</title>",
        "zeros": b"\0" * 64,
        "one-byte": b"\xff",
    }.items():
        image(f"no-image-but-{name}", "unsupported_format", value, "bin")


PIXEL = base64.b64encode(gif(1, 1, gif_frame(1, 1))).decode()


def post(metadata="{}", rest=""):
    return f'{{"image": {{"data": "{PIXEL}"}}, "metadata": {metadata}{rest}}}'


def json_posts():
    record("json-sound", "result", post())
    record("json-empty", "empty", b"")
    record("json-white-space", "not_json", b" ")
    record("json-no-json", "not_json", "hello")
    record("json-list", "not_json", "[1]")
    record("json-two-objects", "not_json", post() + post())
    record("json-cut", "not_json", post()[:-1])
    record("json-trailing-comma", "not_json", '{"id": "p",}')
    record("json-comment", "not_json", "/* */" + post())
    record("json-byte-order-mark", "not_json", b"\xef\xbb\xbf" + post().encode())
    record("json-utf-16", "not_json", post().encode("utf-16-le"))
    record("json-broken-utf-8", "not_json", b'{"id": "\xff"}')
    record("json-overlong-utf-8", "not_json", b'{"id": "\xc0\xaf"}')
    record("json-control-character-in-text", "not_json", post('{"caption": "\n"}'))
    for brackets in ["[", '{"a":', '[{"a":']:
        name = {"[": "lists", '{"a":': "objects"}.get(brackets, "both")
        record(f"json-nested-{name}", "too_deep", [(b'{"x": ', 1), (brackets.encode(), MEGABYTES // len(brackets))])
    record("json-nested-in-text", "result", post(json.dumps({"caption": "[" * 1_000})))
    record("json-million-fields", "result", [(post()[:-1].encode(), 1), (b',"":0', MEGABYTES // 5), (b"}", 1)])
    record("json-million-items", "result", [(post(rest=', "x": [0')[:-1].encode(), 1), (b",0", MEGABYTES // 2), (b"]}", 1)])
    record("json-million-tags", "bad_field", [(b'{"metadata": {"tags": [""', 1), (b',""', MEGABYTES // 3), (b']}, "image": {"data": "AAAA"}}', 1)])
    record("json-number-of-megabytes", "result", [(post(rest=', "x": 1')[:-1].encode(), 1), (b"0", MEGABYTES), (b"}", 1)])
    record("json-key-of-megabytes", "result", [(post()[:-1].encode() + b',"', 1), (b"k", MEGABYTES), (b'": 0}', 1)])
    record("json-escapes", "text_too_long", [(b'{"image": {"data": "AAAA"}, "metadata": {"caption": "', 1), (b"\\u0000", 400_000), (b'"}}', 1)])
    for name, metadata in {
        "wrong-type": '{"caption": 7}',
        "given-twice": '{"caption": "a", "caption": "b"}',
        "given-twice-by-an-escape": '{"caption": "a", "c\\u0061ption": "b"}',
        "lone-surrogate": '{"caption": "\\ud800"}',
        "surrogates-swapped": '{"caption": "\\udc00\\ud800"}',
        "metadata-is-a-text": '"caption"',
        "label-missing": '{"objects": [{"score": 1}]}',
        "score-beyond-any-float": '{"objects": [{"label": "a", "score": 1e999}]}',
        "score-of-minus-one": '{"objects": [{"label": "a", "score": -1}]}',
        "score-is-a-text": '{"objects": [{"label": "a", "score": "NaN"}]}',
    }.items():
        record(f"json-{name}", "bad_field", post(metadata))
    for value in ["NaN", "Infinity", "-Infinity", "0x1", "01", "1.", "+1", "'a'", "True", "undefined"]:
        record(f"json-value-{value}", "not_json", post(f'{{"objects": [{{"label": "a", "score": {value}}}]}}'))
    record("json-image-given-twice", "bad_field", '{"image": {"data": "AAAA"}, "image": {"data": "AAAA"}}')
    record("json-id-empty", "bad_field", post(rest=', "id": ""'))
    record("json-id-of-257-bytes", "bad_field", post(rest=f', "id": "{"i" * 257}"'))
    record("json-id-is-a-number", "bad_field", post(rest=', "id": 7'))
    record("json-no-time", "bad_field", post(rest=', "published_at": "yesterday"'))
    record("json-time-beyond-the-calendar", "bad_field", post(rest=', "published_at": "999999-01-01T00:00:00Z"'))
    record("json-fields-of-javascript", "result", post('{"__proto__": {"admin": true}, "constructor": 1}'))
    record("json-control-characters-escaped", "result", post(json.dumps({"caption": "".join(map(chr, range(32)))})))


def base64_posts():
    data = lambda text: f'{{"image": {{"data": "{text}"}}}}'
    record("base64-other-alphabet", "bad_base64", data("_-_-"))
    record("base64-line-breaks", "bad_base64", data("R0lG\\nODlh"))
    record("base64-of-one-character", "bad_base64", data("A"))
    record("base64-padding-alone", "bad_base64", data("===="))
    record("base64-padding-in-the-middle", "bad_base64", data("R0==R0=="))
    record("base64-padding-of-megabytes", "bad_base64", [(b'{"image": {"data": "R0lG', 1), (b"=", MEGABYTES), (b'"}}', 1)])
    record("base64-bits-left-over", "bad_base64", data("R1=="))
    record("base64-no-letters", "bad_base64", data("\\u00e9\\u00e9\\u00e9\\u00e9"))
    record("base64-data-url", "bad_base64", data(f"data:image/gif;base64,{PIXEL}"))
    record("base64-empty", "no_image", data(""))
    record("base64-of-megabytes", "unsupported_format", [(b'{"image": {"data": "', 1), (b"AAAA", MEGABYTES // 4), (b'"}}', 1)])
    record("base64-twice", "unsupported_format", data(base64.b64encode(PIXEL.encode()).decode()))
    record("base64-escaped", "result", data("".join(f"\\u{ord(letter):04x}" for letter in PIXEL)))
    record("image-missing", "no_image", "{}")
    record("image-null", "no_image", '{"image": null}')
    record("image-without-data", "no_image", '{"image": {}}')
    record("image-is-a-text", "bad_field", '{"image": "AAAA"}')
    record("image-data-and-url", "bad_field", '{"image": {"data": "AAAA", "url": "https://example.com/a.jpg"}}')
    for name, url in {
        "metadata-service": "http://169.254.169.254/latest/meta-data/",
        "loopback": "http://127.0.0.1:9464/metrics",
        "file": "file:///etc/passwd",
    }.items():
        record(f"url-{name}", "fetch_refused", f'{{"image": {{"url": "{url}"}}}}')


def headers():
    pixel = gif(1, 1, gif_frame(1, 1))
    typed = ("content-type", "image/gif")
    record("headers-sound", "result", pixel, [typed])
    record("headers-65", "too_many_headers", pixel, [typed] + [(f"h{number}", "") for number in range(64)])
    record("headers-64-of-one-name", "result", pixel, [typed] + [("h", "")] * 63)
    record("headers-type-twice", "result", pixel, [typed, ("content-type", "video/mp4")])
    record("headers-type-unknown", "unsupported_content_type", pixel, [("content-type", "video/mp4")])
    record("headers-type-empty", "unsupported_content_type", pixel, [("content-type", "")])
    record("headers-type-svg", "unsupported_content_type", pixel, [("content-type", "image/svg+xml")])
    record("headers-type-with-a-null", "unsupported_content_type", pixel, [("content-type", "image/gif\0")])
    record("headers-type-of-4500-bytes", "unsupported_content_type", pixel, [("content-type", "image/gif" * 500)])
    record("headers-type-with-lines", "unsupported_content_type", pixel, [("content-type", "x\r\ndlq.reason: none\r\n")])
    record("headers-type-in-odd-letters", "result", pixel, [("content-type", " IMAGE/GIF ;charset=utf-7")])
    record("headers-type-and-no-value", "empty", b"", [typed])
    record("headers-id-of-257-bytes", "bad_field", pixel, [typed, ("ce_id", "i" * 257)])
    record("headers-no-time", "bad_field", pixel, [typed, ("ce_time", "0000-00-00")])
    record("headers-source-too-long", "text_too_long", pixel, [typed, ("ce_source", "s" * 10_001)])
    record("headers-metadata-no-json", "not_json", pixel, [typed, ("metadata", "{")])
    record("headers-metadata-too-deep", "too_deep", pixel, [typed, ("metadata", "[" * 1_000)])
    record("headers-metadata-is-a-list", "bad_field", pixel, [typed, ("metadata", "[]")])
    record("headers-metadata-null", "result", pixel, [typed, ("metadata", "null")])
    record("headers-dead-letter-of-its-own", "bad_field", pixel, [typed, ("metadata", '{"tags": 1}'), ("x-dlq", "1")])


def texts():
    """Captions of the full length, and lists of texts: what they cost is the cost of patterns and tokenizer."""
    for name, text in {
        "letters": "a" * 10_000,
        "spaces": " " * 10_000,
        "words": "a " * 5_000,
        "hashtags": "#" * 10_000,
        "words-of-hashtags": "#a" * 5_000,
        "camel-case": "#" + "aB1" * 3_333,
        "mentions": "@a" * 5_000,
        "links": "http://" * 1_428,
        "link-starts": "www." * 2_500,
        "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467" * 2_000,
        "combining-marks": "\u0335" * 10_000,
        "long-ligatures": "\ufdfa" * 10_000,
        "ideographs": "\u9f98" * 10_000,
        "hangul": "\uac01" * 10_000,
        "right-to-left": "\u202e\u05d0" * 5_000,
        "capitals-that-grow": "\u0130" * 10_000,
        "nulls": "\0" * 10_000,
        "punctuation": "!?" * 5_000,
        "noncharacters": "\uffff" * 10_000,
        "special-tokens": "[CLS][SEP][MASK][PAD]" * 476,
        "templates": "{caption}{scene}" * 625,
    }.items():
        entry = json.dumps({"caption": text})
        start = entry.index(": ") + 3
        record(f"text-{name}", "result", fold(post(entry).encode(), len(json.dumps(text[: max(1, period(text))])) - 2))
    record("text-of-10001-characters", "text_too_long", [(post('{"caption": "')[:-1].encode(), 1), (b"a", 10_001), (b'"}}', 1)])
    tag = lambda count, length: json.dumps([f"{number:{length}}" for number in range(count)])
    record("text-256-tags-of-10000-characters", "text_too_long", long_list('{"tags": [', '"', '"', "]}"))
    record("text-256-labels-of-10000-characters", "text_too_long", long_list('{"objects": [', '{"label": "', '"}', "]}"))
    record("text-256-tags", "result", post(f'{{"tags": {tag(256, 30)}}}'))
    record("text-257-tags", "bad_field", post(f'{{"tags": {tag(257, 3)}}}'))


def period(text):
    return next(length for length in range(1, len(text) + 1) if text[length:] == text[:-length] or length == len(text))


def long_list(before, opened, closed, after):
    """256 texts of 10,000 characters, each of the permitted length."""
    start, end = post(before).encode()[:-1] + opened.encode(), closed.encode() + after.encode() + b"}"
    text, between = (b"a b", 3_333), ((closed + "," + opened).encode(), 1)
    return [(start, 1), *[text, between] * 255, text, (end, 1)]


def large():
    record("record-of-5-megabytes", "too_large", [(b" ", 5_000_000)])
    image("png-of-5-megabytes", "too_large", [(png(), 1), (b"\0", 5_000_000)])


def main(out):
    for build in [jpegs, pngs, gifs, webps, disguises, json_posts, base64_posts, headers, texts, large]:
        build()
    files["30000x30000.png"] = png(png_header(30_000, 30_000, 8, 2), png_chunk(b"IDAT", deflated_zeros(4)), png_chunk(b"IEND"))
    image("png-30000x30000", "too_many_pixels", files["30000x30000.png"])
    del files["png-30000x30000.png"]
    entries[-1]["value"] = [{"file": "30000x30000.png"}]
    for old in out.iterdir():
        old.unlink()
    for name, value in files.items():
        (out / name).write_bytes(value)
    lines = ",\n".join(json.dumps(entry, ensure_ascii=True) for entry in entries)
    (out / "manifest.json").write_text(f"[\n{lines}\n]\n")


main(pathlib.Path(sys.argv[1]))
