"""What is said of classes that differ."""

from effnet.data.targets import difference


def test_other_classes_are_named() -> None:
    said = difference("the model", ("cat", "dog"), "the data", ("cat", "owl"))
    assert "the model has cat, dog; the data has cat, owl." in said
    assert said.endswith("Only in the model: dog; only in the data: owl.")


def test_another_order_is_called_so() -> None:
    said = difference("the model", ("cat", "dog"), "the data", ("dog", "cat"))
    assert said.startswith("The classes are in another order: the model has cat, dog; the data")
    assert "none" not in said


def test_of_many_classes_a_start_is_named() -> None:
    many = [f"class {number}" for number in range(1000)]
    said = difference("the model", many, "the data", ("cat",))
    assert "class 19 and 980 more" in said
    assert "class 20" not in said
