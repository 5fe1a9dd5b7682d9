"""The scripts that pages load: complete for the installed Voila, and under addresses that follow their content."""

import gzip

from helpers.app.server.handlers import CHUNKS, SCRIPTS, Script, chunks, places


def test_the_installed_voila_has_every_listed_part():
    """Else the list is another version's: python -m recording.chunks writes it anew."""
    assert [name for name in CHUNKS.read_text().split() if not places(name)] == []


def test_the_file_holds_each_part_once():
    text = gzip.decompress(chunks())
    parts = [places(name)[0].read_bytes() for name in CHUNKS.read_text().split()]
    assert len(parts) > 50
    assert [text.count(part) for part in parts] == [1] * len(parts)


def test_an_address_changes_with_the_content_alone():
    one, same, other = (Script("x", lambda content=content: content) for content in (b"1", b"1", b"2"))
    assert one.address == same.address != other.address
    assert set(SCRIPTS) == {"chunks", "vega"}
