"""Spellings that are one name, names that are near, and names that are neither."""

import time

import pytest

from voice2face_gan.data.prepare.names import first_letter, near_names, normalise_name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A.J._Buckley", "A. J. Buckley"),
        ("Brooke_Burke-Charvet", "brooke burke charvet"),
        ("Conan_O'Brien", "Conan_O\u2019Brien"),
        ("Chlo\u00eb_Sevigny", "Chloe\u0308_Sevigny"),
        ("Renée_Zellweger", "RENEE ZELLWEGER"),
        ("Søren_Łukasz_Þór", "Soren_Lukasz_Thor"),
        ("Strauß", "STRAUSS"),
        ("İbrahim_Çelik", "ibrahim_celik"),
        ("ﬁnn", "Finn"),
        ("Ёлка", "елка"),
        (" Cher ", "Cher"),
    ],
)
def test_spellings_of_one_name(one, other):
    assert normalise_name(one) == normalise_name(other) != ""


def test_names_that_are_not_one():
    assert normalise_name("Jean_Reno") != normalise_name("Jean_Renoir")
    assert normalise_name("李冰冰") == "李冰冰" != normalise_name("范冰冰")
    assert normalise_name("50_Cent") == "50cent"
    assert normalise_name("...") == "..."  # nothing left to compare: itself


@pytest.mark.parametrize(
    ("name", "letter"), [("Éva_Green", "E"), ("_bo", "B"), ("50_Cent", ""), ("Ёлка", "")]
)
def test_first_letters(name, letter):
    assert first_letter(name) == letter


def test_near_names_are_a_letter_apart_or_turned_round():
    left = ["Chloe_Bennet", "Bingbing_Li", "Jon_Smith", "Cher", "Alan_Alda"]
    right = ["Chloe_Bennett", "Li_Bingbing", "Jan_Smith", "Chers", "Alan_Rickman", "Chloe_Brennet"]
    assert near_names(left, right) == [
        ("Bingbing_Li", "Li_Bingbing"),
        ("Chloe_Bennet", "Chloe_Bennett"),
        ("Chloe_Bennet", "Chloe_Brennet"),
        ("Jon_Smith", "Jan_Smith"),
    ]


def test_near_names_of_whole_sets_take_no_time():
    left = [f"person{i:05d}_{chr(97 + i % 26) * 6}" for i in range(0, 4000, 2)]
    right = [f"somebody{i:05d}_{chr(97 + i % 26) * 6}" for i in range(9000)]
    started = time.perf_counter()
    assert near_names(left, right) == []
    assert time.perf_counter() - started < 15
