"""The process behind a job."""

from helpers.app.jobs.processes import Worker


def test_a_worker_that_was_just_killed_is_given_no_work():
    worker = Worker()
    assert worker.alive
    worker.kill()
    assert not worker.alive
