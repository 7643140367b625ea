"""The image formats by hand, for files that no encoder would write."""

import struct
import zlib


def fold(data, period):
    """data as parts of the manifest: what repeats with this period is told once, with its number of times."""
    parts, start, at = [], 0, 0
    while at + 2 * period <= len(data):
        end = at
        while end + period < len(data) and data[end] == data[end + period]:
            end += 1
        times = (end - at) // period + 1
        if times * period > 64 and times > 1:
            parts += [(data[start:at], 1), (data[at : at + period], times)]
            start = at = at + times * period
        else:
            at = max(end, at) + 1
    return [part for part in parts + [(data[start:], 1)] if part[0]]


# PNG


def png_chunk(name, body=b""):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_header(width, height, bits=8, colour=0, interlaced=0):
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))


def png(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def deflated_zeros(count):
    """A zlib stream of zero bytes: one literal, then matches of 258 bytes at distance 1, which repeat every 13 bytes."""
    bits, length = 0b011, 3  # the last block, with the fixed codes

    def code(value, width):  # Huffman codes go in from their top bit
        return int(f"{value:0{width}b}"[::-1], 2)

    zero, match = code(0b00110000, 8), code(0b1100010100000, 13)
    literals = 1 + (count - 1) % 258
    for _ in range(literals):
        bits, length = bits | zero << length, length + 8
    eight = sum(match << 13 * number for number in range(8))  # 13 bytes
    matches = (count - literals) // 258
    for _ in range(matches % 8):
        bits, length = bits | match << length, length + 13
    # Shifted to where the stream stands, the thirteen bytes repeat.
    head, shift = bits.to_bytes((length + 7) // 8, "little"), length % 8
    whole = bytearray(head)
    repeat = matches // 8
    if repeat:
        body = int.from_bytes(eight.to_bytes(13, "little") * repeat, "little") << shift
        body = bytearray(body.to_bytes(13 * repeat + 1, "little"))
        if shift:
            body[0] |= whole.pop()
        else:
            body.pop()
        whole += body
    # The end of the block is seven zero bits.
    if shift == 0 or shift > 1:
        whole.append(0)
    return b"\x78\x01" + bytes(whole) + struct.pack(">I", (count % 65521) << 16 | 1)


def png_of_zeros(width, height, bits, colour, channels, interlaced=0):
    rows = height * (1 + (width * bits * channels + 7) // 8)
    if interlaced:
        rows = 0
        for x, y, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
            columns, lines = (width - x + dx - 1) // dx, (height - y + dy - 1) // dy
            rows += lines * (1 + (columns * bits * channels + 7) // 8) if columns else 0
    return png(png_header(width, height, bits, colour, interlaced), png_chunk(b"IDAT", deflated_zeros(rows)), png_chunk(b"IEND"))


# GIF


def gif_blocks(data, size=255):
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"


def gif_frame(width, height, data=b"\x44\x01", left=0, top=0, packed=0, palette=b"", code_size=2, block=255):
    return struct.pack("<BHHHHB", 0x2C, left, top, width, height, packed) + palette + bytes([code_size]) + gif_blocks(data, block)


def gif(width, height, *blocks, palette=b"\0\0\0\xff\xff\xff"):
    packed = 0x80 if palette else 0
    return b"GIF89a" + struct.pack("<HHBBB", width, height, packed, 0, 0) + palette + b"".join(blocks) + b";"


def lzw_zeros(count):
    """The LZW codes of `count` pixels of colour 0: each names the longest run so far and one more, to the end of the table."""
    codes, following, left = [(4, 3), (0, 3)], 6, count - 1  # clear, one pixel
    width = 3
    while left > 0:
        # Entry 6 is a run of two; a shorter rest is an entry that exists.
        code = min(following, 4095, left + 4) if left > 1 else 0
        codes.append((code, width))
        left -= max(code - 4, 1)
        if following < 4096:
            following += 1
            if following == 1 << width and width < 12:
                width += 1
    codes.append((5, width))
    text = "".join(f"{code:0{width}b}"[::-1] for code, width in codes)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[at : at + 8][::-1], 2) for at in range(0, len(text), 8))


# WebP


def riff(name, body):
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def webp(*chunks):
    return riff(b"RIFF", b"WEBP" + b"".join(chunks))


def webp_canvas(width, height, flags):
    return riff(b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


def webp_frame(width, height, *chunks):
    head = b"\0" * 6 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + b"\x0a\0\0\0"
    return riff(b"ANMF", head + b"".join(chunks))


def vp8l_header(width, height):
    return riff(b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14) + b"\0" * 8)


def vp8_header(width, height):
    return riff(b"VP8 ", b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + b"\0" * 8)


# JPEG


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


# The luminance tables of the standard, cut to what a flat picture needs: no difference, end of block.
DC = segment(0xC4, b"\x00" + bytes([0, 1] + [0] * 14) + b"\0")
QUANTISATION = segment(0xDB, b"\0" + b"\x01" * 64)


def jpeg_frame(width, height, marker=0xC0, bits=8, components=1):
    parts = b"".join(bytes([1 + number, 0x11, 0]) for number in range(components))
    return segment(marker, struct.pack(">BHHB", bits, height, width, components) + parts)


def jpeg(*segments):
    return b"\xff\xd8" + b"".join(segments) + b"\xff\xd9"


def flat_jpeg(width, height, marker=0xC0, before=b""):
    """Grey, by codes of two zero bits and one for `end of block` in a table of its own: three bits a block."""
    end_of_block = segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0")
    blocks = ((width + 7) // 8) * ((height + 7) // 8)
    scan = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\0" * ((3 * blocks + 7) // 8)
    return jpeg(before, QUANTISATION, jpeg_frame(width, height, marker), DC, end_of_block, scan)


def progressive_jpeg(width, height, scans):
    """A flat picture whose coefficients are refined over and over: runs of empty blocks make each scan a few bytes."""
    blocks = ((width + 7) // 8) * ((height + 7) // 8)
    first = segment(0xDA, b"\x01\x01\x00\x00\x00\x00") + b"\0" * ((2 * blocks + 7) // 8)
    # The one code of the table is `a run of 2^14 empty blocks and as many more as 14 bits say`.
    runs = segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\xe0")
    bits = ""
    left = blocks
    while left >= 1 << 14:
        more = min(left, (1 << 15) - 1) - (1 << 14)
        bits += "0" + f"{more:014b}"
        left -= (1 << 14) + more
    if left:
        bits += "0" + "0" * 14
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    again = segment(0xDA, b"\x01\x01\x00\x01\x3f\x00") + data
    return jpeg(QUANTISATION, jpeg_frame(width, height, 0xC2), DC, first, runs, again * scans)
