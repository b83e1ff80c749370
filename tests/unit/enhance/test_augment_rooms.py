"""Rooms and microphones: arrivals by geometry, decay by the asked reverberation time, responses from files."""

import numpy as np
import pytest
import soundfile
import torch

from enhance.augment.convolve import convolved
from enhance.augment.image_source import SOUND, Room, images, reflection, room_response
from enhance.augment.microphone import MicrophoneConfig, draw_microphone
from enhance.augment.responses import aligned, load_responses
from enhance.augment.room import RoomConfig, draw_room, early_part
from harness.errors import AudioError

RATE = 16000
ROOM = Room(size=np.array([5.0, 4.0, 3.0]), speaker=np.array([1.0, 1.5, 1.2]), microphone=np.array([3.5, 2.0, 1.6]),
            rt60=0.5)  # fmt: skip


def mirrored(place: np.ndarray, axis: int, wall: float) -> np.ndarray:
    image = place.copy()
    image[axis] = 2 * wall - image[axis]
    return image


def test_first_reflections_arrive_when_the_mirrored_speaker_is_that_far():
    expected = [np.linalg.norm(ROOM.speaker - ROOM.microphone)]
    for axis in range(3):
        for wall in (0.0, ROOM.size[axis]):
            expected.append(np.linalg.norm(mirrored(ROOM.speaker, axis, wall) - ROOM.microphone))
    distances, gains = images(ROOM, max(expected) + 0.01)
    once = np.sort(distances[np.isclose(gains, reflection(ROOM)) | np.isclose(gains, 1)])
    np.testing.assert_allclose(once, np.sort(expected), atol=1e-9)


def test_number_of_images_is_that_of_the_volume_of_the_sphere():
    distances, _ = images(ROOM, 40.0)
    assert len(distances) == pytest.approx(4 / 3 * np.pi * 40.0**3 / np.prod(ROOM.size), rel=0.02)


def test_walls_absorb_by_eyring():
    volume, surface = 60.0, 94.0
    absorption = 1 - reflection(ROOM) ** 2
    assert 0.161 * volume / (-surface * np.log(1 - absorption)) == pytest.approx(0.5, rel=0.005)


def test_direct_sound_has_gain_one_and_stays_in_place():
    response = room_response(ROOM, RATE, np.random.default_rng(0))
    direct = np.linalg.norm(ROOM.speaker - ROOM.microphone)
    assert response.taps[response.lead] == pytest.approx(1, abs=0.02)
    assert np.abs(response.taps[: response.lead - 12]).max() < 0.01
    floor = np.linalg.norm(mirrored(ROOM.speaker, 2, 0.0) - ROOM.microphone)
    place = response.lead + round((floor - direct) / SOUND * RATE)
    gain = reflection(ROOM) * direct / floor
    assert response.taps[place - 1 : place + 2].max() == pytest.approx(gain, rel=0.25)  # between two samples


@pytest.mark.parametrize("rt60", [0.25, 0.6])
def test_energy_falls_by_sixty_decibels_in_the_asked_time(rt60):
    room = Room(size=ROOM.size, speaker=ROOM.speaker, microphone=ROOM.microphone, rt60=rt60)
    taps = room_response(room, RATE, np.random.default_rng(1)).taps.astype(float)
    energy = np.cumsum(taps[::-1] ** 2)[::-1]  # Schroeder
    decibels = 10 * np.log10(energy / energy[0])
    first, last = (int(np.argmax(decibels < level)) for level in (-8, -28))
    assert (last - first) / RATE * 3 == pytest.approx(rt60, rel=0.2)


def test_images_do_not_add_up_to_a_drift():
    taps = room_response(ROOM, RATE, np.random.default_rng(0)).taps
    dense = taps[round(0.04 * RATE) : round(0.08 * RATE)]
    assert abs(dense.mean()) < 0.1 * np.sqrt(np.mean(dense**2))


def test_simulated_rooms_follow_from_their_number():
    config = RoomConfig(rooms=3)
    drawn = [draw_room(config, RATE, np.random.default_rng(seed)).taps for seed in range(8)]
    assert 1 < len({taps.tobytes() for taps in drawn}) <= 3


def test_distance_and_size_shape_the_room():
    near = draw_room(RoomConfig(rooms=1, distance=(0.3, 0.3)), RATE, np.random.default_rng(0))
    far = draw_room(RoomConfig(rooms=1, distance=(2.5, 2.5), size=(6.0, 6.0)), RATE, np.random.default_rng(0))

    def reverberant(response):
        return np.sum(response.taps[response.lead + 40 :] ** 2)

    assert reverberant(far) > 5 * reverberant(near)


def test_early_part_ends_after_its_time():
    response = draw_room(RoomConfig(rooms=1), RATE, np.random.default_rng(0))
    early = early_part(response, RoomConfig(early=0.02), RATE)
    assert len(early) == response.lead + 1 + 320
    np.testing.assert_array_equal(early, response.taps[: len(early)])


def test_convolution_is_numpys():
    rng = np.random.default_rng(0)
    samples, kernels = rng.standard_normal((3, 500)), [rng.standard_normal(n) for n in (7, 90, 31)]
    ours = convolved(torch.from_numpy(samples), kernels, lead=5).numpy()
    for row, kernel in enumerate(kernels):
        expected = np.pad(np.convolve(samples[row], kernel), (0, 5))[5:505]
        np.testing.assert_allclose(ours[row], expected, atol=1e-5)


@pytest.fixture
def responses(tmp_path):
    """A late, negative, decaying response; another one at 8 kHz."""
    folder = tmp_path / "responses"
    folder.mkdir()
    rng = np.random.default_rng(0)
    tail = 0.2 * rng.standard_normal(2000) * np.exp(-np.arange(2000) / 300)
    soundfile.write(folder / "a.wav", np.concatenate([np.zeros(700), [-0.8], tail]), RATE, "FLOAT")
    soundfile.write(folder / "b.wav", np.concatenate([np.zeros(50), [0.5], tail[:500]]), 8000, "FLOAT")
    return folder


def test_responses_from_files_are_turned_to_their_direct_sound(responses):
    one, other = load_responses(responses, RATE)
    assert one.taps[one.lead] == 1
    assert np.abs(one.taps[: one.lead]).max() == 0
    assert other.taps.argmax() == other.lead == one.lead
    assert len(other.taps) == pytest.approx(other.lead + 2 * 501, abs=2)


def test_recorded_rooms_are_drawn_from_the_directory(responses):
    drawn = {draw_room(RoomConfig(files=responses), RATE, np.random.default_rng(seed)).taps.tobytes()
             for seed in range(8)}  # fmt: skip
    assert drawn == {one.taps.tobytes() for one in load_responses(responses, RATE)}


def test_microphones_keep_the_power_of_white_noise(responses):
    config = MicrophoneConfig(probability=1.0, files=responses)
    response = draw_microphone(config, RATE, np.random.default_rng(0))
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 40000)))
    heard = convolved(noise, [response.taps], response.lead)
    assert heard.square().mean().item() == pytest.approx(1, rel=0.05)


def test_missing_and_silent_responses_are_named(tmp_path):
    with pytest.raises(ValueError, match="files must name a directory"):
        MicrophoneConfig(probability=0.5)
    with pytest.raises(AudioError, match="no such impulse response directory"):
        load_responses(tmp_path / "none", RATE)
    soundfile.write(tmp_path / "still.wav", np.zeros(100), RATE)
    with pytest.raises(AudioError, match=r"still.wav: holds silence only"):
        load_responses(tmp_path, RATE)
    with pytest.raises(ValueError, match="silence"):
        aligned(np.zeros(10), RATE)
