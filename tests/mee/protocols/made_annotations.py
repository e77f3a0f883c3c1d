"""Annotation files: names, fields and counts are those of the real files, captions are made up."""

import json
import pickle

FULL_TEST = [f"video{number}" for number in range(7_010, 10_000)]
TEST_1KA = [f"video{number}" for number in range(7_010, 9_010, 2)]
TEST_1KB = [f"video{number}" for number in range(1_000)]
TRAIN_1KB = [f"video{number}" for number in (*range(1_000, 6_289), *range(8_000, 9_367))]


def msrvtt_sentences(videos, first_id=0, captions=20):
    return [
        {"sen_id": first_id + captions * place + number, "video_id": video, "caption": f"{video} says {number}"}
        for place, video in enumerate(videos)
        for number in range(captions)
    ]


def msrvtt_json(videos, first_id=0):
    """Every video is marked `train`, as some copies of the file have it."""
    marks = {"category": 1, "url": "", "start time": 0.5, "end time": 9, "split": "train"}
    listed = [{"id": number, "video_id": video, **marks} for number, video in enumerate(videos)]
    return {"info": {"year": "2016"}, "videos": listed, "sentences": msrvtt_sentences(videos, first_id)}


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_1ka_test(path, videos=TEST_1KA):
    rows = [f'ret{n},msr{video[5:]},{video},"a query, number {n}"' for n, video in enumerate(videos)]
    write_lines(path, ["key,vid_key,video_id,sentence", *rows])


def write_msrvtt(folder):
    write_json(folder / "MSRVTT_data.json", msrvtt_json([f"video{number}" for number in range(10_000)]))
    write_1ka_test(folder / "MSRVTT_JSFUSION_test.csv")
    write_lines(folder / "test_list_miech.txt", TEST_1KB)
    write_lines(folder / "train_list_miech.txt", TRAIN_1KB)


def clip_id(film, number):
    hours, rest = divmod(number, 3600)
    time = f"{hours:02d}.{rest // 60:02d}.{rest % 60:02d}"
    return f"{film}_{time}.100-{time}.900"


def lsmdc_rows(film, count):
    """Ids repeat in every tenth row, as in the training file; of a film of its own for each split."""
    return [
        [clip_id(film, number - (number % 10 == 9)), *["00.00.00.000"] * 4, f'SOMEONE says "{number}".']
        for number in range(count)
    ]


def write_tabs(path, rows):
    write_lines(path, ["\t".join(row) for row in rows])


def lsmdc_test(count=1_000):
    return [[clip_id("3001_A_TEST", n), *["00.00.00.000"] * 4, f"sentence {n}"] for n in range(count)]


def write_lsmdc(folder):
    train = lsmdc_rows("0001_Some_Film", 101_079)
    for number in (10, 20, 30, 40, 50):
        train[number][5] = ""
    write_tabs(folder / "LSMDC16_annos_training.csv", train)
    write_tabs(folder / "LSMDC16_annos_val.csv", lsmdc_rows("1001_Another", 7_408))
    write_tabs(folder / "LSMDC16_challenge_1000_publictect.csv", lsmdc_test())


def choice_rows(count=10_053):
    rows = enumerate(lsmdc_test(count))
    return [[*row[:5], *(f"choice {k} of {n}" for k in range(1, 6)), str(1 + n % 5)] for n, row in rows]


def write_lsmdc_mc(folder):
    write_tabs(folder / "LSMDC16_multiple_choice_test_randomized.csv", choice_rows())


def msvd_videos():
    counts = {"train": 1_200, "val": 100, "test": 670}
    return {split: [f"{split}{n}_1_2" for n in range(count)] for split, count in counts.items()}


def msvd_captions():
    """One to seven captions a video, as lists of words."""
    return {
        video: [[video, "does", str(n)] for n in range(1 + place % 7)]
        for videos in msvd_videos().values()
        for place, video in enumerate(videos)
    }


def write_msvd(folder):
    for split, videos in msvd_videos().items():
        write_lines(folder / f"{split}_list.txt", videos)
    (folder / "raw-captions.pkl").write_bytes(pickle.dumps(msvd_captions(), protocol=2))


def didemo(split, count):
    """Two sentences a video, the later one first in the file."""
    times = {"end": [[3, 3], [3, 4]], "start": [[0, 0], [0, 1]]}
    return [
        {"video": f"{split}{n}.mp4", "description": f"{word} of {n}", "times": times[word]}
        for n in range(count)
        for word in times
    ]


def write_didemo(folder):
    for split, count in (("train", 8_395), ("val", 1_065), ("test", 1_004)):
        write_json(folder / f"{split}_data.json", didemo(split, count))
    write_lines(folder / "train_list.txt", [f"train{n}.mp4" for n in range(8_392)])


def activitynet(split, count):
    times = {"duration": 60.5, "timestamps": [[30, 50.2], [0.0, 12]]}
    return {f"v_{split}{n}": {**times, "sentences": [f" Then {n}. ", f"First {n}."]} for n in range(count)}


def write_activitynet(folder):
    write_json(folder / "train.json", activitynet("train", 10_009))
    write_json(folder / "val_1.json", activitynet("val", 4_917))


def vatex(split, count):
    return [
        {"videoID": f"{split}{n:06d}_000122_000132", "enCap": [f"{split} {n} {k}" for k in range(10)], "chCap": []}
        for n in range(count)
    ]


def write_vatex(folder):
    held_out = vatex("val", 3_000)
    write_json(folder / "vatex_training_v1.0.json", vatex("train", 25_991))
    write_json(folder / "vatex_validation_v1.0.json", held_out)
    write_lines(folder / "val_list.txt", [video["videoID"] for video in held_out[:1_500]])
    write_lines(folder / "test_list.txt", [video["videoID"] for video in held_out[1_500:]])


def coco(first, images, captions):
    return {
        "images": [{"id": first + n, "file_name": f"{first + n:012d}.jpg"} for n in range(images)],
        "annotations": [
            {"id": 7 * n, "image_id": first + n % images, "caption": f"picture {n} \n"} for n in range(captions)
        ],
    }


def write_coco(folder):
    write_json(folder / "annotations" / "captions_val2017.json", coco(1_000_000, 5_000, 25_014))
    write_json(folder / "annotations" / "captions_train2017.json", coco(2_000_000, 118_287, 118_287))


def write_folder(folder):
    rows = [f"v{n // 2}.mp4,caption {n},{'test' if n < 6 else 'train'}" for n in range(20)]
    write_lines(folder / "captions.csv", ["video_id,caption,split", *rows])


WRITERS = {
    **dict.fromkeys(("msrvtt-full", "msrvtt-1ka", "msrvtt-1kb"), write_msrvtt),
    "lsmdc": write_lsmdc,
    "lsmdc-mc": write_lsmdc_mc,
    "msvd": write_msvd,
    "didemo": write_didemo,
    "activitynet": write_activitynet,
    "vatex": write_vatex,
    "coco": write_coco,
    "folder": write_folder,
}
