"""The real data of the demonstration: airports, cars, handwritten digits and a model of them."""

from __future__ import annotations

import csv
import json
from importlib.metadata import files
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC


class Airport(BaseModel):
    """An airport of the United States."""

    iata: str
    name: str
    city: str | None
    state: str | None
    country: str
    latitude: float
    longitude: float


class Car(BaseModel):
    """A car of the years 1970 to 1982; some figures are missing."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(alias="Name")
    miles_per_gallon: float | None = Field(alias="Miles_per_Gallon")
    cylinders: int = Field(alias="Cylinders")
    displacement: float = Field(alias="Displacement")
    horsepower: int | None = Field(alias="Horsepower")
    weight: int = Field(alias="Weight_in_lbs")
    acceleration: float = Field(alias="Acceleration")
    year: str = Field(alias="Year")
    origin: str = Field(alias="Origin")


def _source(name: str) -> str:
    """A data file of vega_datasets, found without importing that package, which needs pandas."""
    for file in files("vega_datasets") or ():
        if file.name == name:
            return file.read_text(encoding="utf-8")
    raise FileNotFoundError(f"{name} is not in the package vega_datasets; reinstall it")


def airports() -> dict[str, Airport]:
    """Every airport by its key."""
    rows = [
        {name: None if text == "NA" else text for name, text in row.items()}
        for row in csv.DictReader(_source("airports.csv").splitlines())
    ]
    return {f"airports/{row['iata']}": Airport.model_validate(row) for row in rows}


def cars() -> dict[str, Car]:
    """Every car by its key; names repeat, so the keys are numbers."""
    rows = json.loads(_source("cars.json"))
    return {f"cars/{at:03}": Car.model_validate(row) for at, row in enumerate(rows)}


def digits() -> tuple[Any, Any, str]:
    """1,797 images of 8 x 8 pixels as one array, what they show, and a text about them."""
    found = load_digits()
    return found.data, found.target, found.DESCR


def split() -> tuple[Any, Any, Any, Any]:
    """Images to learn from, images to be tested with, and the answers to both."""
    images, answers, _ = digits()
    parts: tuple[Any, Any, Any, Any] = tuple(
        train_test_split(images, answers, test_size=0.5, shuffle=False)
    )
    return parts


def train() -> Any:
    """A support vector machine that has learned the digits."""
    learn_from, _, answers, _ = split()
    return SVC(gamma=0.001).fit(learn_from, answers)


def accuracy(model: Any) -> float:
    """The part of the images not learned from that a model reads rightly."""
    _, test_with, _, answers = split()
    return float(model.score(test_with, answers))
