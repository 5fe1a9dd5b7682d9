"""Who gets a page and who waits: never more than there are seats, in the order of arrival, whoever asks how often."""

import random

import pytest

from helpers.app.server import visitors
from helpers.app.server.visitors import CONNECT_S, FEWEST_PAGES, GONE_S, HOLD_S, Room, Seat, Wait, seats_for_machine


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def opened(room, visitor, kernel, connected=True, **who) -> Seat:
    """A page as it is opened: a seat, a kernel, the page, a browser on the line."""
    seat = room.enter(visitor, **who)
    assert isinstance(seat, Seat)
    seat.kernel = kernel
    room.sent(seat)
    if connected:
        room.connected(kernel)
    return seat


def place(room, visitor) -> int:
    waiting = room.enter(visitor)
    assert isinstance(waiting, Wait)
    return waiting.place


def test_the_line_moves_in_the_order_of_arrival(clock):
    room = Room(2, now=clock)
    opened(room, "a", "1")
    opened(room, "b", "2")
    assert [place(room, visitor) for visitor in "cdecde"] == [1, 2, 3, 1, 2, 3]
    room.ended("1")
    clock.now += HOLD_S + 1
    assert place(room, "d") == 2, "the seat is c's"
    opened(room, "c", "3")
    assert [place(room, visitor) for visitor in "de"] == [1, 2]
    assert room.taken == 2


def test_a_page_that_is_loaded_again_has_its_seat_back_before_those_in_line(clock):
    """Its browser asks anew while the old kernel is still ending, or just after."""
    room = Room(1, now=clock)
    opened(room, "a", "1")
    assert [place(room, visitor) for visitor in "ba"] == [1, 2]
    room.ended("1")
    assert place(room, "b") == 1
    opened(room, "a", "2")
    room.ended("2")
    clock.now += HOLD_S + 1
    opened(room, "b", "3")
    assert place(room, "a") == 1


def test_who_stops_asking_loses_the_place(clock):
    room = Room(1, now=clock)
    opened(room, "a", "1")
    assert [place(room, visitor) for visitor in "bc"] == [1, 2]
    clock.now += GONE_S + 1
    assert not room.has_line()
    assert place(room, "c") == 1
    room.ended("1")
    clock.now += HOLD_S + 1
    assert isinstance(room.enter("c"), Seat)


def test_one_visitor_has_so_many_pages_and_keeps_nobody_from_the_rest(clock):
    room = Room(5, each=2, now=clock)
    opened(room, "a", "1")
    opened(room, "a", "2")
    assert room.enter("a") == Wait(0, 5, 2)
    assert not room.has_line()
    opened(room, "b", "3")
    room.ended("2")
    opened(room, "a", "4")


def test_a_robot_that_keeps_no_cookies_has_as_many_as_a_visitor_and_no_place_in_the_line(clock):
    room = Room(30, each=3, now=clock)
    for number in range(200):
        entered = room.enter(f"new {number}", "10.0.0.1", is_new=True)
        if isinstance(entered, Seat):
            entered.kernel = str(number)
            room.sent(entered)
    assert room.taken == 3
    assert not room.has_line()
    assert isinstance(room.enter("known", "10.0.0.1"), Seat), "a browser at the same address comes back with its cookie"
    assert isinstance(room.enter("other", "10.0.0.2", is_new=True), Seat)


def test_new_readers_behind_one_address_come_in_as_soon_as_their_browsers_connect(clock):
    room = Room(30, each=2, now=clock)
    for number in range(10):
        opened(room, f"new {number}", str(number), address="10.0.0.1", is_new=True)
    assert room.taken == 10


def test_a_page_that_no_browser_comes_for_is_waste_and_one_that_is_made_is_not(clock):
    room = Room(2, now=clock)
    seat = room.enter("a")
    seat.kernel = "1"
    clock.now += 10 * CONNECT_S  # a busy machine
    assert not room.is_waste("1")
    room.sent(seat)
    assert not room.is_waste("1")
    clock.now += CONNECT_S + 1
    assert room.is_waste("1")
    room.connected("1")
    assert not room.is_waste("1")


def test_a_browser_that_connects_before_its_page_is_whole_is_not_forgotten(clock):
    room = Room(2, now=clock)
    seat = room.enter("a")
    seat.kernel = "1"
    room.connected("1")
    room.sent(seat)
    clock.now += CONNECT_S + 1
    assert not room.is_waste("1")


def test_a_page_that_was_left_is_kept_for_its_reader_unless_somebody_waits(clock):
    room = Room(1, now=clock)
    opened(room, "a", "1")
    room.disconnected("1")
    clock.now += CONNECT_S + 1
    assert not room.is_waste("1")
    assert place(room, "b") == 1
    assert room.is_waste("1")
    room.connected("1")
    assert not room.is_waste("1")


def test_a_page_without_a_kernel_leaves_its_seat_free(clock):
    room = Room(1, now=clock)
    room.sent(room.enter("a"))
    assert room.taken == 0


def test_whatever_comes_there_are_never_more_pages_than_seats_and_nobody_waits_for_a_free_one(clock):
    """500 rounds of arrivals, reloads, endings and silence."""
    rng, room, open_pages = random.Random(0), Room(4, each=2, now=clock), []
    for number in range(500):
        clock.now += rng.expovariate(0.5)
        if open_pages and rng.random() < 0.3:
            room.ended(open_pages.pop(rng.randrange(len(open_pages))))
        entered = room.enter(rng.choice("abcdefgh"))
        if isinstance(entered, Seat):
            entered.kernel = f"kernel {number}"
            room.sent(entered)
            room.connected(entered.kernel)
            open_pages.append(entered.kernel)
        assert room.taken == len(open_pages) <= 4
    while open_pages:
        room.ended(open_pages.pop())
    clock.now += GONE_S + 1
    assert isinstance(room.enter("a"), Seat)


@pytest.mark.parametrize(("limit", "cores", "seats"), [
    ("max\n", 2, 35), ("8000000000\n", 2, 13), ("1000000000\n", 2, FEWEST_PAGES), ("max\n", 1, 20), ("max\n", 64, 35)])
def test_the_seats_fit_the_memory_and_the_cores_of_the_machine_or_its_container(monkeypatch, tmp_path, limit, cores,
                                                                                seats):
    monkeypatch.setattr(visitors, "CGROUP", tmp_path / "memory.max")
    monkeypatch.setattr(visitors, "usable_cores", lambda: cores)
    (tmp_path / "memory.max").write_text(limit)
    memory = type("Memory", (), {"total": 16_500_000_000})
    monkeypatch.setattr(visitors.psutil, "virtual_memory", lambda: memory)
    assert seats_for_machine() == seats
