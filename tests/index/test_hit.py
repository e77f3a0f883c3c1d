"""A hit as plain containers."""

from index.hit import Hit, Share


def test_a_hit_becomes_plain_containers_with_each_experts_part():
    hit = Hit(1, "a.mp4#t=0,10", "a.mp4", 0.0, 10.0, 0.25, {"audio": Share(0.5, 0.5)})
    assert hit.to_dict() == {
        "rank": 1,
        "clip_id": "a.mp4#t=0,10",
        "video": "a.mp4",
        "start_s": 0.0,
        "end_s": 10.0,
        "score": 0.25,
        "constant": 0.0,
        "experts": {"audio": {"weight": 0.5, "similarity": 0.5, "contribution": 0.25}},
    }
