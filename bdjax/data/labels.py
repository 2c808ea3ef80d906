"""The class names of the datasets, in the order of their labels."""

CIFAR10 = tuple(
  "airplane automobile bird cat deer dog frog horse ship truck".split()
)

CIFAR100 = tuple(
  """
  apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy
  bridge bus butterfly camel can castle caterpillar cattle chair chimpanzee
  clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
  flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
  leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
  oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
  poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
  shrew skunk skyscraper snail snake spider squirrel streetcar sunflower
  sweet_pepper table tank telephone television tiger tractor train trout tulip
  turtle wardrobe whale willow_tree wolf woman worm
  """.split()
)

STL10 = tuple("airplane bird car cat deer dog horse monkey ship truck".split())

IMAGENETTE = (
  "tench",
  "English springer",
  "cassette player",
  "chain saw",
  "church",
  "French horn",
  "garbage truck",
  "gas pump",
  "golf ball",
  "parachute",
)

# Bits of the label, highest first: the attributes of FMN's CelebA-8.
CELEBA_BITS = ("Heavy_Makeup", "Mouth_Slightly_Open", "Smiling")
CELEBA8 = (
  "plain",
  "smile",
  "open",
  "open_smile",
  "makeup",
  "makeup_smile",
  "makeup_open",
  "makeup_open_smile",
)

GTSRB = (
  "speed limit 20",
  "speed limit 30",
  "speed limit 50",
  "speed limit 60",
  "speed limit 70",
  "speed limit 80",
  "end of speed limit 80",
  "speed limit 100",
  "speed limit 120",
  "no passing",
  "no passing for trucks",
  "right of way at next crossing",
  "priority road",
  "yield",
  "stop",
  "no vehicles",
  "no trucks",
  "no entry",
  "general caution",
  "dangerous curve left",
  "dangerous curve right",
  "double curve",
  "bumpy road",
  "slippery road",
  "road narrows",
  "road work",
  "traffic signals",
  "pedestrians",
  "children",
  "bicycles",
  "ice or snow",
  "wild animals",
  "end of all limits",
  "turn right ahead",
  "turn left ahead",
  "ahead only",
  "straight or right",
  "straight or left",
  "keep right",
  "keep left",
  "roundabout",
  "end of no passing",
  "end of no passing for trucks",
)
