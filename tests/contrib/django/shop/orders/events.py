from whereupon import Event


class OrderPlaced(Event):
    number: int


class OrderBilled(Event):
    number: int
