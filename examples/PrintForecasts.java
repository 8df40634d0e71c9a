// Reads the plain topic with Kafka's own client, no build step:
//   java -cp "$(tickcast jars)/broker/*" examples/PrintForecasts.java 127.0.0.1:9092

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

public class PrintForecasts {
    public static void main(String[] arguments) throws Exception {
        Map<String, Object> options = Map.of(
            "bootstrap.servers", arguments[0],
            "group.id", "java-example",
            "auto.offset.reset", "earliest");
        ObjectMapper json = new ObjectMapper();
        Set<String> seen = new HashSet<>(); // delivery is at least once: the same forecast has the same id
        try (KafkaConsumer<String, String> consumer =
                new KafkaConsumer<>(options, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of("forecasts"));
            while (true) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(500))) {
                    JsonNode forecast = json.readTree(record.value());
                    if (forecast.get("provisional").asBoolean() || !seen.add(forecast.get("forecast_id").asText())) continue;
                    System.out.printf("%s in %d min: %.2f%n", forecast.get("symbol").asText(),
                        forecast.get("horizon_min").asInt(), forecast.get("mean").asDouble());
                }
            }
        }
    }
}
